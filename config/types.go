package config

import (
	"time"

	"drctl/config/checks"
	"drctl/config/gameday"
	"drctl/config/recovery"
	"drctl/config/route"
	"drctl/config/storage"
	"drctl/config/unit"
	"drctl/config/workers"
)

// The struct tags are the grammar, which drives parser, schema and Show: `yaml` is
// the key, `req` a mandatory key, `enum` the allowed words, `format` a check from
// formats.go, `min` the smallest number or duration, `quiet` keeps what was written
// out of messages (it may be the secret itself), `only` the kinds of target of a
// key, `lax` text that may be written as a number, `doc` the text in the schema.

// FileVersion is the version of the file that this program reads.
const FileVersion = 1

// Config is a whole configuration file after defaults. Read-only once loaded.
type Config struct {
	Version   int                           `yaml:"version" req:"true" enum:"1" doc:"Version of the file format."`
	Name      string                        `yaml:"name" req:"true" format:"name" doc:"Name of the platform; it appears in reports, and workflow ids and task queues begin with it, so platforms that share a namespace need different ones."`
	StateDir  string                        `yaml:"state_dir" format:"path" doc:"Directory for the embedded engine's database and scratch space. Everything that matters is in the vaults."`
	Key       Ref                           `yaml:"key" req:"true" doc:"The age identity that opens every vault of this platform."`
	Engine    Engine                        `yaml:"engine" doc:"The workflow engine."`
	Regions   map[string]*Region            `yaml:"regions" req:"true" key:"name" doc:"Places that can be lost as a whole."`
	Witness   *storage.Store                `yaml:"witness" doc:"A directory or bucket in a third place, which is no vault: with it the vaults have a majority when one is lost. Guards and recoveries between regions need three voters."`
	Guard     storage.Guard                 `yaml:"guard" doc:"The guards beside the servers (drctl guard)."`
	Targets   map[string]*Target            `yaml:"targets" req:"true" key:"name" doc:"The platform's data stores."`
	Groups    map[string]*Group             `yaml:"groups" req:"true" key:"name" doc:"Targets that must be recovered to one common point."`
	Policies  map[string]*Policy            `yaml:"policies" key:"name" doc:"How often and how safely. The policy \"standard\" always exists."`
	Sandbox   workers.Sandbox               `yaml:"sandbox" doc:"Where drills and sandbox restores run."`
	Workers   workers.Slots                 `yaml:"workers" doc:"How much one worker does at once."`
	Lab       string                        `yaml:"lab" format:"path" doc:"Directory of the lab that this platform is, as drlab up writes it. Servers of a lab may be broken by game days without more ado."`
	Drills    map[string]*Drill             `yaml:"drills" key:"name" doc:"Rehearsals."`
	Detection recovery.Detection            `yaml:"detection" doc:"How the loss of a region is detected."`
	Recovery  map[string]*recovery.Recovery `yaml:"recovery" key:"name" doc:"How a group comes back, by group."`

	source
}

// The engine modes.
const (
	Embedded = "embedded"
	External = "external"
)

// Engine is the Temporal server that drctl uses.
type Engine struct {
	Mode      string     `yaml:"mode" enum:"embedded|external" doc:"embedded: drctl up runs a Temporal server with SQLite. external: your own cluster or a cloud namespace."`
	Address   string     `yaml:"address" format:"addr" doc:"host:port of the frontend; for the embedded engine the loopback address that it listens on."`
	Namespace string     `yaml:"namespace" format:"word" doc:"Temporal namespace."`
	TLS       *EngineTLS `yaml:"tls" doc:"TLS to an external engine; given and empty uses the system's authorities."`
	APIKey    Ref        `yaml:"api_key" doc:"API key of a cloud namespace; implies TLS."`
}

// EngineTLS is how an external engine is reached with TLS.
type EngineTLS struct {
	CAFile     string `yaml:"ca_file" format:"path" doc:"Certificate authority that signed the server."`
	CertFile   string `yaml:"cert_file" format:"path" doc:"Client certificate."`
	KeyFile    string `yaml:"key_file" format:"path" doc:"Key of the client certificate."`
	ServerName string `yaml:"server_name" doc:"Name expected in the server's certificate."`
}

// Region is a place with workers and a vault.
type Region struct {
	Queue string        `yaml:"queue" format:"queue" doc:"Task queue of the region's workers; drctl.<name>.<region> when left out, with the platform's name."`
	Vault storage.Store `yaml:"vault" req:"true" doc:"Where the region keeps what is needed to recover."`
}

// Target is a logical data store of the platform. Which keys apply depends on
// Kind; the parser refuses those that do not.
type Target struct {
	Kind     string   `yaml:"kind" req:"true" enum:"postgres|redis|s3" doc:"Kind of store."`
	Database string   `yaml:"database" only:"postgres" doc:"Database that holds the group's tables."`
	User     string   `yaml:"user" only:"postgres|redis" doc:"User with the replication privilege (PostgreSQL) or ACL user (Redis)."`
	Password Ref      `yaml:"password" only:"postgres|redis" doc:"The user's password."`
	Tables   []string `yaml:"tables" only:"postgres" format:"table" doc:"Schema-qualified tables that a cut locks; empty means all."`
	// RenamedCommands goes into the record of every base: the log holds the new names.
	RenamedCommands map[string]string `yaml:"renamed_commands" only:"redis" key:"word" format:"word" doc:"Write commands that the servers know by another name (rename-command): their own name, and what the servers call them. A restore needs both."`

	AccessKey string `yaml:"access_key" only:"s3" doc:"S3 access key id."`
	SecretKey Ref    `yaml:"secret_key" only:"s3" doc:"S3 secret access key."`
	TLS       string `yaml:"tls" only:"postgres|redis" enum:"disable|require|verify-full" doc:"Encryption of connections; disable when left out."`
	CAFile    string `yaml:"ca_file" format:"path" doc:"Certificate authority of the servers, in PEM."`

	Shards map[string]Shard `yaml:"shards" req:"true" key:"shard" doc:"The parts of the store, each with its instances by region."`
}

// Shard is the instances of one shard by region.
type Shard map[string]*Instance

// Instance is a shard's copy in one region.
type Instance struct {
	Address  string   `yaml:"address" only:"postgres|redis" format:"addr" doc:"host:port of the server itself, never of a pooler."`
	Endpoint string   `yaml:"endpoint" only:"s3" format:"httpurl" doc:"URL of the S3 service."`
	Bucket   string   `yaml:"bucket" only:"s3" format:"bucket" doc:"Name of the bucket."`
	Prefix   string   `yaml:"prefix" only:"s3" doc:"Limits the shard to keys that begin with it."`
	Role     string   `yaml:"role" req:"true" enum:"primary|standby" doc:"What the instance is when all is well."`
	DataDir  string   `yaml:"data_dir" only:"postgres|redis" format:"path" doc:"The data directory where the region's worker can read it; bases of PostgreSQL are then taken file by file. A failover to a proven moment lays the shard down there."`
	Host     string   `yaml:"host" only:"postgres|redis" format:"host" doc:"The host that the server runs on. What reads its data directory, or stops and starts it, is done by the worker there (drctl worker --host); any worker of the region when left out."`
	Stop     []string `yaml:"stop" only:"postgres|redis" doc:"Program and arguments by which a worker stops the server in order, and keeps its supervisor from starting it; a switchover runs it. Left out, the worker signals the server of data_dir."`
	Start    []string `yaml:"start" only:"postgres|redis" doc:"Program and arguments by which a worker starts the server again."`

	User      string `yaml:"user" only:"postgres|redis" doc:"Overrides the target's user."`
	Password  Ref    `yaml:"password" only:"postgres|redis" doc:"Overrides the target's password."`
	AccessKey string `yaml:"access_key" only:"s3" doc:"Overrides the target's access key."`
	SecretKey Ref    `yaml:"secret_key" only:"s3" doc:"Overrides the target's secret key."`
}

// Group is a consistency group.
type Group struct {
	Targets []string `yaml:"targets" req:"true" doc:"Targets of the group; a target belongs to one group."`
	Policy  string   `yaml:"policy" doc:"Policy of the group."`
	Gate    string   `yaml:"gate" format:"shardid" doc:"PostgreSQL shard (target/shard) whose database holds the gate that cross-shard transactions share."`
	Home    string   `yaml:"home" doc:"Region whose workers take the cuts; that of the gate's primary when left out."`

	Routes map[string]*route.Route `yaml:"routes" key:"name" doc:"Ways by which clients reach the group's shards and services."`
}

// Policy is how often and how safely a group is protected.
type Policy struct {
	Cut        Cut           `yaml:"cut" doc:"Consistent recovery points."`
	Base       Base          `yaml:"base" doc:"Full images from which streams are replayed."`
	Stream     Stream        `yaml:"stream" doc:"The continuous archive of every shard's log."`
	Check      Check         `yaml:"check" doc:"Verification of the vaults."`
	Retention  Retention     `yaml:"retention" doc:"What is kept. Nothing that a kept cut needs is ever removed."`
	Objectives Objectives    `yaml:"objectives" doc:"What the business was promised."`
	Jitter     time.Duration `yaml:"jitter" min:"0s" doc:"Spread of scheduled starts; at most 2s and a tenth of cut.every when left out."`
}

// Cut is how recovery points are taken.
type Cut struct {
	Every       time.Duration `yaml:"every" min:"0s" doc:"Interval; 0s takes cuts by hand only."`
	Mode        string        `yaml:"mode" format:"cutmode" doc:"How global transactions make themselves known: tagged, two-phase, gate, locks, joined by +; auto uses what the logs show, and the gate if the group has one."`
	Accept      string        `yaml:"accept" enum:"proven|locked|ordered" doc:"The least grade of a cut that counts; of what is there the best is taken."`
	Look        time.Duration `yaml:"look" min:"100ms" doc:"How long a quiet instant is looked for before a lesser grade is taken."`
	HalfDone    time.Duration `yaml:"half_done" min:"100ms" doc:"A global transaction that is half done for longer is broken: it is reported, and holds up no cut."`
	GIDs        string        `yaml:"gids" format:"gids" doc:"Regular expression whose first group, or whole match, names the global transaction of a prepared one; equal ids when left out."`
	Redis       string        `yaml:"redis" enum:"auto|mark|pause" doc:"pause: CLIENT PAUSE for some ms during a cut. mark: never. auto: with several masters."`
	Partial     string        `yaml:"partial" enum:"refuse|allow" doc:"A shard that is down. refuse: no cut. allow: a cut of the rest, which says so."`
	Lease       time.Duration `yaml:"lease" min:"100ms" doc:"After it every server lets go by itself, whoever died."`
	Budget      time.Duration `yaml:"budget" min:"1ms" doc:"Longest time that one attempt may stall writers."`
	LockTimeout time.Duration `yaml:"lock_timeout" min:"1ms" doc:"One wait for the table locks; under the gate several fit into an attempt, and late attempts wait up to four times as long."`
	Attempts    int           `yaml:"attempts" min:"1" doc:"Attempts before the cut fails."`
	SealWithin  time.Duration `yaml:"seal_within" min:"1s" doc:"A cut that is not durable by then is abandoned and reported."`
	Unnameable  string        `yaml:"unnameable" enum:"skip|refuse" doc:"Objects whose keys the server cannot list. skip: cuts without them, which every cut says. refuse: no cut."`
}

// Base is how full images are taken.
type Base struct {
	Every     time.Duration `yaml:"every" min:"0s" doc:"Interval; 0s takes bases by hand only."`
	FullEvery int           `yaml:"full_every" min:"1" doc:"Every Nth base rereads every byte instead of trusting size and time."`
}

// Stream is how logs are archived.
type Stream struct {
	ChunkAge   time.Duration `yaml:"chunk_age" min:"50ms" doc:"A chunk is closed at this age."`
	ChunkSize  unit.Size     `yaml:"chunk_size" min:"64KiB" doc:"A chunk is closed at this size."`
	Vaults     []string      `yaml:"vaults" doc:"Regions whose vaults are written; all when left out."`
	Durability int           `yaml:"durability" min:"1" doc:"Vaults that must hold a byte before it counts as safe and the server may drop it."`
}

// Check is how the vaults are verified.
type Check struct {
	Every    time.Duration `yaml:"every" min:"0s" doc:"Interval; 0s checks by hand only."`
	ReadData string        `yaml:"read_data" format:"fraction" doc:"Part of the base data read per check, n/t with t up to 256, or \"\" for none. Checks take one part after the other, so t of them read everything."`
}

// Retention is what is kept. Durations count from now, the minima hold whatever the age.
type Retention struct {
	Cuts     time.Duration `yaml:"cuts" min:"1m" doc:"Age up to which cuts are kept."`
	CutsMin  int           `yaml:"cuts_min" min:"1" doc:"Newest cuts that are kept whatever their age."`
	Bases    time.Duration `yaml:"bases" min:"1m" doc:"Age up to which bases are kept."`
	BasesMin int           `yaml:"bases_min" min:"1" doc:"Newest bases of a shard that are kept whatever their age."`
}

// Objectives are the promised limits.
type Objectives struct {
	RPO time.Duration `yaml:"rpo" min:"0s" doc:"Longest tolerated data loss; 0s sets none. Twice cut.every when left out."`
	RTO time.Duration `yaml:"rto" min:"0s" doc:"Longest tolerated time to recover; 0s sets none."`
}

// The choices of a drill's cut.
const (
	Latest = "latest"
	Random = "random"
)

// Drill is a rehearsal: of a restore, or a game day.
type Drill struct {
	Group        string        `yaml:"group" req:"true" doc:"Group that is restored."`
	Cut          string        `yaml:"cut" enum:"latest|random" doc:"latest: the newest sealed cut. random: any sealed cut of the window, the seed recorded."`
	Window       time.Duration `yaml:"window" min:"1s" doc:"Age of the oldest cut that random may choose."`
	Seed         int64         `yaml:"seed" min:"0" doc:"Seed of the choice; 0 draws one and records it."`
	Vault        string        `yaml:"vault" doc:"Region whose vault alone is read; another than the group's home when left out."`
	Every        time.Duration `yaml:"every" min:"0s" doc:"Interval; 0s runs by hand only."`
	Jitter       time.Duration `yaml:"jitter" min:"0s" doc:"Spread of scheduled starts; at most 5m and a tenth of every when left out."`
	Scenario     string        `yaml:"scenario" doc:"What is supposed to have happened, and why it is severe but plausible."`
	Hypothesis   string        `yaml:"hypothesis" doc:"What the drill is expected to show."`
	Participants []string      `yaml:"participants" doc:"Who takes part."`
	Objectives   Objectives    `yaml:"objectives" doc:"Limits of this drill; the policy's when left out."`
	Checks       checks.Checks `yaml:"checks" doc:"What must hold in the restored data."`

	GameDay *gameday.GameDay `yaml:"game_day" doc:"Makes it a drill on the servers themselves, with faults, instead of a restore into a sandbox."`
}
