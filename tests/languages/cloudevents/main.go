// Prints what the SDK of CloudEvents reads from a record of Kafka: cloudevents RECORD
package main

import (
	"context"
	"encoding/json"
	"log"
	"os"

	"github.com/cloudevents/sdk-go/protocol/kafka_sarama/v2"
	"github.com/cloudevents/sdk-go/v2/binding"
)

func main() {
	content, err := os.ReadFile(os.Args[1])
	if err != nil {
		log.Fatal(err)
	}
	var record struct {
		Headers map[string]string
		Value   string
	}
	if err := json.Unmarshal(content, &record); err != nil {
		log.Fatal(err)
	}
	headers := map[string][]byte{}
	for name, value := range record.Headers {
		headers[name] = []byte(value)
	}
	message := kafka_sarama.NewMessage([]byte(record.Value), record.Headers["content-type"], headers)
	event, err := binding.ToEvent(context.Background(), message)
	if err != nil {
		log.Fatal(err)
	}
	if err := event.Validate(); err != nil {
		log.Fatal(err)
	}
	said := map[string]any{
		"id": event.ID(), "type": event.Type(), "source": event.Source(), "data": json.RawMessage(event.Data()),
	}
	if err := json.NewEncoder(os.Stdout).Encode(said); err != nil {
		log.Fatal(err)
	}
}
