module stoker.example/bench/peer

go 1.24.0

require (
	github.com/goccy/go-json v0.10.5
	github.com/redis/go-redis/v9 v9.17.2
	github.com/twmb/franz-go v1.20.5
)

require (
	github.com/cespare/xxhash/v2 v2.3.0 // indirect
	github.com/dgryski/go-rendezvous v0.0.0-20200823014737-9f7001d12a5f // indirect
	github.com/klauspost/compress v1.18.1 // indirect
	github.com/pierrec/lz4/v4 v4.1.22 // indirect
	github.com/twmb/franz-go/pkg/kmsg v1.12.0 // indirect
)
