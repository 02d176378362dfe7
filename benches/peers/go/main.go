// What a team writes in Go, well: franz-go with a goroutine a partition, and go-redis pipelines.
//
// The row is passed on as raw JSON. Of the keys of a batch only the last change is written. A position is marked for
// the next commit after the pipeline that holds it was answered without an error. See ../peers.toml for what it is told.
package main

import (
	"context"
	"fmt"
	"log"
	"os"
	"os/signal"
	"strconv"
	"sync"
	"syscall"
	"time"

	"github.com/goccy/go-json"
	"github.com/redis/go-redis/v9"
	"github.com/twmb/franz-go/pkg/kgo"
)

const batchRecords = 2000

type partition struct {
	topic string
	id    int32
}

// worker writes one partition's changes, in order.
type worker struct {
	records chan []*kgo.Record
	done    chan struct{}
}

type warmer struct {
	cache   *redis.Client
	prefix  string
	ttl     time.Duration
	mutex   sync.Mutex
	workers map[partition]*worker
}

func (w *warmer) assigned(_ context.Context, client *kgo.Client, topics map[string][]int32) {
	w.mutex.Lock()
	defer w.mutex.Unlock()
	for topic, ids := range topics {
		for _, id := range ids {
			worker := &worker{records: make(chan []*kgo.Record, 4), done: make(chan struct{})}
			w.workers[partition{topic, id}] = worker
			go w.work(client, worker)
		}
	}
}

func (w *warmer) revoked(_ context.Context, client *kgo.Client, topics map[string][]int32) {
	w.mutex.Lock()
	var leaving []*worker
	for topic, ids := range topics {
		for _, id := range ids {
			if worker, found := w.workers[partition{topic, id}]; found {
				delete(w.workers, partition{topic, id})
				close(worker.records)
				leaving = append(leaving, worker)
			}
		}
	}
	w.mutex.Unlock()
	for _, worker := range leaving {
		<-worker.done
	}
	if err := client.CommitMarkedOffsets(context.Background()); err != nil {
		log.Printf("commit: %v", err)
	}
}

func (w *warmer) work(client *kgo.Client, worker *worker) {
	defer close(worker.done)
	for records := range worker.records {
		for len(records) > 0 {
			batch := records[:min(len(records), batchRecords)]
			records = records[len(batch):]
			if err := w.write(batch); err != nil {
				log.Fatalf("write: %v", err)
			}
			client.MarkCommitRecords(batch...)
		}
	}
}

type event struct {
	Op    string          `json:"op"`
	After json.RawMessage `json:"after"`
}

type row struct {
	ID json.RawMessage `json:"id"`
}

// change returns the key of a record's row, and its row as JSON; nil where the row is gone.
func (w *warmer) change(record *kgo.Record) (string, []byte, error) {
	var event event
	if record.Value != nil {
		if err := json.Unmarshal(record.Value, &event); err != nil {
			return "", nil, err
		}
	}
	var row row
	if record.Value == nil || event.Op == "d" {
		err := json.Unmarshal(record.Key, &row)
		return w.prefix + string(row.ID), nil, err
	}
	err := json.Unmarshal(event.After, &row)
	return w.prefix + string(row.ID), event.After, err
}

func (w *warmer) write(batch []*kgo.Record) error {
	changes := make(map[string][]byte, len(batch))
	for _, record := range batch {
		key, value, err := w.change(record)
		if err != nil {
			return fmt.Errorf("%s/%d offset %d: %w", record.Topic, record.Partition, record.Offset, err)
		}
		changes[key] = value
	}
	ctx := context.Background()
	pipeline := w.cache.Pipeline()
	for key, value := range changes {
		if value == nil {
			pipeline.Unlink(ctx, key)
		} else {
			pipeline.Set(ctx, key, value, w.ttl)
		}
	}
	_, err := pipeline.Exec(ctx)
	return err
}

func main() {
	ttl, err := strconv.Atoi(os.Getenv("TTL_MS"))
	if err != nil {
		log.Fatalf("TTL_MS: %v", err)
	}
	w := &warmer{
		cache:   redis.NewClient(&redis.Options{Addr: "127.0.0.1:" + os.Getenv("REDIS_PORT")}),
		prefix:  os.Getenv("KEY_PREFIX"),
		ttl:     time.Duration(ttl) * time.Millisecond,
		workers: map[partition]*worker{},
	}
	client, err := kgo.NewClient(
		kgo.SeedBrokers(os.Getenv("BROKERS")),
		kgo.ConsumerGroup(os.Getenv("GROUP")),
		kgo.ConsumeTopics(os.Getenv("TOPIC")),
		kgo.ConsumeResetOffset(kgo.NewOffset().AtStart()),
		kgo.AutoCommitMarks(),
		kgo.AutoCommitInterval(time.Second),
		kgo.BlockRebalanceOnPoll(),
		kgo.OnPartitionsAssigned(w.assigned),
		kgo.OnPartitionsRevoked(w.revoked),
		kgo.OnPartitionsLost(w.revoked),
	)
	if err != nil {
		log.Fatal(err)
	}
	defer client.Close()
	ctx, cancel := signal.NotifyContext(context.Background(), syscall.SIGTERM, os.Interrupt)
	defer cancel()
	for ctx.Err() == nil {
		fetches := client.PollRecords(ctx, 20_000)
		fetches.EachError(func(topic string, id int32, err error) {
			if ctx.Err() == nil {
				log.Printf("%s/%d: %v", topic, id, err)
			}
		})
		fetches.EachPartition(func(fetched kgo.FetchTopicPartition) {
			w.mutex.Lock()
			worker := w.workers[partition{fetched.Topic, fetched.Partition}]
			w.mutex.Unlock()
			if worker != nil && len(fetched.Records) > 0 {
				worker.records <- fetched.Records
			}
		})
		client.AllowRebalance()
	}
}
