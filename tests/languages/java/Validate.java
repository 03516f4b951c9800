import com.networknt.schema.SchemaRegistry;
import com.networknt.schema.SpecificationVersion;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.LinkedHashMap;
import java.util.Map;
import tools.jackson.databind.ObjectMapper;

/** Prints for each vector whose value is JSON, in order, whether the schema accepts it: Validate SCHEMA VECTORS. */
public final class Validate {
    public static void main(String[] arguments) throws Exception {
        var mapper = new ObjectMapper();
        var schema = SchemaRegistry.withDefaultDialect(SpecificationVersion.DRAFT_2020_12)
                .getSchema(mapper.readTree(Path.of(arguments[0])));
        Map<String, String> verdicts = new LinkedHashMap<>();
        for (String line : Files.readAllLines(Path.of(arguments[1]))) {
            var vector = mapper.readTree(line);
            if (vector.path("schema").isString()) { // otherwise the value is no JSON
                var value = mapper.readTree(vector.get("value").stringValue());
                var isValid = schema.validate(value).isEmpty();
                verdicts.put(vector.get("name").stringValue(), isValid ? "accepts" : "refuses");
            }
        }
        System.out.println(mapper.writeValueAsString(verdicts));
    }
}
