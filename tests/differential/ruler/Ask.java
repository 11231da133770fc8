import com.fasterxml.jackson.databind.JsonNode;
import com.fasterxml.jackson.databind.ObjectMapper;
import java.io.BufferedReader;
import java.io.InputStreamReader;
import java.io.PrintStream;
import java.nio.charset.StandardCharsets;
import software.amazon.event.ruler.Machine;

/** Reads lines of {"pattern": text, "event": text}; answers each with `true`, `false` or `refused: why`. */
public class Ask {
    public static void main(String[] arguments) throws Exception {
        ObjectMapper json = new ObjectMapper();
        PrintStream out = new PrintStream(System.out, false, StandardCharsets.UTF_8);
        BufferedReader in = new BufferedReader(new InputStreamReader(System.in, StandardCharsets.UTF_8));
        for (String line = in.readLine(); line != null; line = in.readLine()) {
            JsonNode asked = json.readTree(line);
            Machine machine = new Machine();
            try {
                machine.addRule("rule", asked.get("pattern").asText());
            } catch (Exception refused) {
                out.println("refused: " + String.valueOf(refused.getMessage()).lines().findFirst().orElse(""));
                continue;
            }
            out.println(!machine.rulesForJSONEvent(asked.get("event").asText()).isEmpty());
        }
        out.flush();
    }
}
