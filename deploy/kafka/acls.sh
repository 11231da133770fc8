#!/bin/sh
# The rights that the daemon needs of Kafka, and no others: read its topics, be in its group, write dead letters.
# (On MSK with IAM: deploy/iam/msk.json instead.) Run it with a client config that may change ACLs:
#   BOOTSTRAP=broker:9094 COMMAND_CONFIG=admin.properties PRINCIPAL=User:connector \
#     GROUP=orders-connector TOPICS="shop.orders.v1 shop.returns.v1" DEAD_LETTERS=orders-connector.dead deploy/kafka/acls.sh
# PREFIX=shop. grants every topic that begins so, for routes with ^patterns. REPLAY=yes adds what `connector dead-letters`
# needs, best for the principal of the people who run it (with --to-source also Write on the source topics). KAFKA_ACLS names the command if it is not on
# the PATH; KAFKA_ACLS=echo only prints.
set -eu

: "${BOOTSTRAP:?HOST:PORT of a broker}"
: "${PRINCIPAL:?the daemon as Kafka knows it, for example User:connector}"
: "${GROUP:?kafka.group_id of the config}"
: "${DEAD_LETTERS:=}" "${TOPICS:=}" "${PREFIX:=}" "${REPLAY:=}"
[ -n "$TOPICS$PREFIX" ] || { echo "TOPICS or PREFIX: which topics may be read" >&2; exit 2; }

grant() {
    "${KAFKA_ACLS:-kafka-acls.sh}" --bootstrap-server "$BOOTSTRAP" ${COMMAND_CONFIG:+--command-config "$COMMAND_CONFIG"} \
        --add --allow-principal "$PRINCIPAL" "$@"
}

for topic in $TOPICS; do
    grant --operation Read --operation Describe --topic "$topic"
done
[ -z "$PREFIX" ] || grant --operation Read --operation Describe --topic "$PREFIX" --resource-pattern-type prefixed
grant --operation Read --operation Describe --group "$GROUP"
for topic in $DEAD_LETTERS; do # DescribeConfigs: `check --online` looks at the retention
    grant --operation Write --operation Describe --operation DescribeConfigs --topic "$topic"
    [ -z "$REPLAY" ] || grant --operation Read --topic "$topic"
done
[ -z "$REPLAY" ] || grant --operation Read --operation Describe --group "$GROUP-replay"
