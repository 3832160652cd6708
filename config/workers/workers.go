package workers

import (
	"time"

	"drctl/config/unit"
)

// Sandbox is where drills and sandbox restores run.
type Sandbox struct {
	Dir      string            `yaml:"dir" format:"path" doc:"Root of all sandboxes, on a volume with room for the restored data."`
	Hosts    map[string]string `yaml:"hosts" key:"name" format:"host" doc:"The host that a region's sandboxes are on, by region; any worker of the region with the role sandbox when left out."`
	RunAs    string            `yaml:"run_as" format:"word" doc:"User that runs the servers when drctl runs as root."`
	Tools    Tools             `yaml:"tools" doc:"Programs; found by themselves when left out."`
	MaxBytes unit.Size         `yaml:"max_bytes" min:"0" doc:"Largest sandbox: a plan that reads more is refused before it begins; 0 sets no limit."`
	Keep     time.Duration     `yaml:"keep" min:"0s" doc:"How long the sandbox of a drill with a failed step or check is left for inspection; the host's worker removes it then. A missed objective alone or a cancellation leaves none."`
}

// Destination is an empty instance that a shard is restored into.
type Destination struct {
	Region  string `yaml:"region" doc:"Region whose worker does it; the group's home when left out."`
	Address string `yaml:"address" format:"address" doc:"host:port on which it will listen, or the URL of the S3 service."`
	Host    string `yaml:"host" format:"host" doc:"The host of data_dir: the worker there lays it down (drctl worker --host); any worker of the region when left out."`
	DataDir string `yaml:"data_dir" format:"path" doc:"Empty or absent directory (postgres, redis)."`
	Bucket  string `yaml:"bucket" format:"bucket" doc:"Empty or absent bucket (s3)."`
}

// Slots bound what one worker does at once. What is beyond it waits for another, or
// until something has ended.
type Slots struct {
	Archivers int `yaml:"archivers" min:"1" doc:"Archivers and observers of one worker. Each runs for ever, so all workers of a region together need one for every shard and every group; they have slots of their own and take none from the rest."`
	Tasks     int `yaml:"tasks" min:"1" doc:"Everything else that one worker does at once, of each role: cuts, bases, checks, restores."`
}

// Tools are the programs that sandboxes need.
type Tools struct {
	PostgresBin string `yaml:"postgres_bin" format:"path" doc:"Directory of the PostgreSQL programs."`
	RedisServer string `yaml:"redis_server" format:"path" doc:"The redis-server program."`
	S3Server    string `yaml:"s3_server" format:"path" doc:"The versitygw program."`
	Restic      string `yaml:"restic" format:"path" doc:"The restic program, 0.19.1 or later."`
}

// SetDefaults fills in what is left out.
func (s *Sandbox) SetDefaults() { s.RunAs = "postgres" }

// SetDefaults fills in what is left out.
func (s *Slots) SetDefaults() { *s = Slots{Archivers: 1000, Tasks: 100} }
