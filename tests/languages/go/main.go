// Prints for each vector whose value is JSON, in order, whether the schema accepts it: validate SCHEMA VECTORS
package main

import (
	"bufio"
	"encoding/json"
	"log"
	"os"
	"strings"

	"github.com/santhosh-tekuri/jsonschema/v6"
)

func main() {
	compiler := jsonschema.NewCompiler()
	schema, err := compiler.Compile(os.Args[1])
	if err != nil {
		log.Fatal(err)
	}
	vectors, err := os.Open(os.Args[2])
	if err != nil {
		log.Fatal(err)
	}
	lines := bufio.NewScanner(vectors)
	lines.Buffer(nil, 1<<20)
	verdicts := map[string]string{}
	for lines.Scan() {
		var vector struct{ Name, Value, Schema string }
		if err := json.Unmarshal(lines.Bytes(), &vector); err != nil {
			log.Fatal(err)
		}
		if vector.Schema == "" { // it is no JSON
			continue
		}
		value, err := jsonschema.UnmarshalJSON(strings.NewReader(vector.Value))
		if err != nil {
			log.Fatal(vector.Name, ": ", err)
		}
		verdicts[vector.Name] = "accepts"
		if schema.Validate(value) != nil {
			verdicts[vector.Name] = "refuses"
		}
	}
	if err := json.NewEncoder(os.Stdout).Encode(verdicts); err != nil {
		log.Fatal(err)
	}
}
