// An agent in Go that publishes one score. Run it: go mod tidy && KAFKA_BOOTSTRAP_SERVERS=localhost:9092 go run .
package main

import (
	"cmp"
	"context"
	"encoding/json"
	"log"
	"os"
	"strings"
	"time"

	"github.com/google/uuid"
	"github.com/twmb/franz-go/pkg/kgo"
	"golang.org/x/text/unicode/norm"
)

// A name gets the same id in every language: version 5 of this namespace, from the name in form NFC.
var patterns = uuid.MustParse("3f0f6f0a-7a55-5b0e-8a3c-51f9d7c0a2b4")

type event struct {
	EventID      uuid.UUID      `json:"event_id"`
	PatternID    uuid.UUID      `json:"pattern_id"`
	QualityScore float64        `json:"quality_score"`
	Confidence   float64        `json:"confidence"`
	Measured     time.Time      `json:"measurement_timestamp"` // never the zero time
	Version      string         `json:"version"`
	Metadata     map[string]any `json:"metadata"`
}

func main() {
	brokers := cmp.Or(os.Getenv("KAFKA_BOOTSTRAP_SERVERS"), "localhost:9092")
	client, err := kgo.NewClient( // by default it is idempotent, and waits for all in-sync replicas
		kgo.SeedBrokers(strings.Split(brokers, ",")...),
		kgo.DefaultProduceTopic(cmp.Or(os.Getenv("KAFKA_TOPIC"), "pattern-scored.v1")),
		kgo.RecordDeliveryTimeout(30*time.Second), // without it, it retries for ever
	)
	if err != nil {
		log.Fatal(err)
	}
	defer client.Close() // waits for nothing: ProduceSync has waited
	name := "shop.cart:total"
	scored := event{
		EventID:      uuid.Must(uuid.NewV7()), // once per measurement: a retry has to repeat it
		PatternID:    uuid.NewSHA1(patterns, norm.NFC.Bytes([]byte(name))),
		QualityScore: 0.82, Confidence: 0.9, Measured: time.Now().UTC(), Version: "1.0.0",
		Metadata: map[string]any{"name": name},
	}
	value, err := json.Marshal(scored)
	if err != nil {
		log.Fatal(err)
	}
	record := &kgo.Record{Key: []byte(scored.PatternID.String()), Value: value, Headers: []kgo.RecordHeader{
		{Key: "content-type", Value: []byte("application/json")},
	}}
	if err := client.ProduceSync(context.Background(), record).FirstErr(); err != nil {
		log.Fatalf("event %s was not acknowledged, publish it again: %v", scored.EventID, err)
	}
}
