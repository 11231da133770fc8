"""The config's two small languages: event patterns (`match`) and CEL (`when`, `each`, the `${…}` leaves of `map`)."""
