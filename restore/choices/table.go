package choices

import (
	"time"

	"drctl/restore/plan"
	"drctl/targets"
)

// Table is both ways of a failover, as they were foreseen at one time.
type Table struct {
	Group string `json:"group"`
	From  string `json:"from"`
	To    string `json:"to"`
	// At is when servers and vaults were asked.
	At time.Time `json:"at"`
	// Default is the choice that is taken when nobody says so, by what DefaultWhy says.
	Default    plan.Choice `json:"default"`
	DefaultWhy string      `json:"default_why"`
	// Taken is that of the plan which is shown, or which runs.
	Taken   plan.Choice `json:"taken"`
	Choices []Choice    `json:"choices"`
	// Notes are what the figures leave out, and what could not be asked.
	Notes []string `json:"notes,omitempty"`
}

// Choice is what is foreseen of one way.
type Choice struct {
	Choice plan.Choice `json:"choice"`
	// Plan is the hash of its plan. Cannot says why there is none that may run.
	Plan   string `json:"plan,omitempty"`
	Cannot string `json:"cannot,omitempty"`
	// RPO is the loss of the shard that loses most, with the log of all shards together.
	RPO Loss `json:"rpo"`
	// Worst is that shard, of newest.
	Worst string `json:"worst,omitempty"`
	RTO   Time   `json:"rto"`
	// Shards are what each shard that has a log would lose.
	Shards []Shard `json:"shards,omitempty"`
	// Moment is the newest provable one, of proven.
	Moment *Moment `json:"moment,omitempty"`
}

// Loss is what would be lost if the old side were gone at Table.At.
type Loss struct {
	// Within is the longest time before Table.At in which something that is lost was written; nothing
	// where it is not known, and Why says why.
	Within *time.Duration `json:"within_ns,omitempty"`
	Why    string         `json:"within_unknown,omitempty"`
	// Bytes are the log that is known of, and that would be given up: with newest what anybody saw
	// of the old primary beyond standby and vault, with proven what the standby has beyond the
	// moment. At least so much is lost. BytesWhy says why it is not known, or not of every shard.
	Bytes    *int64 `json:"bytes,omitempty"`
	BytesWhy string `json:"log_unknown,omitempty"`
}

// Shard is what one shard would lose.
type Shard struct {
	Shard targets.ShardID `json:"shard"`
	Kind  targets.Kind    `json:"kind"`
	// To is where its log would end, and Known the farthest place that anybody saw of the old
	// primary, by whom; zero when it is not known.
	To    targets.Position `json:"to,omitzero"`
	Known targets.Position `json:"known,omitzero"`
	By    string           `json:"known_by,omitempty"`
	Loss  Loss             `json:"loss"`
	Notes []string         `json:"notes,omitempty"`
}

// Moment is one at which the whole group is consistent.
type Moment struct {
	At    time.Time     `json:"at"`
	Grade targets.Grade `json:"grade"`
	Cut   string        `json:"cut"`
	// Why says why it may not be the newest.
	Why string `json:"not_newest,omitempty"`
}

// Time is how long a way would take, people included.
type Time struct {
	// P50 and P95 are those of the chain of steps that decides; nothing where they are not known, and then Why says why.
	P50 *time.Duration `json:"p50_ns,omitempty"`
	P95 *time.Duration `json:"p95_ns,omitempty"`
	Why string         `json:"unknown,omitempty"`
	// People is the part of P50 in which people are waited for.
	People time.Duration `json:"people_p50_ns,omitempty"`
	// Runs is how many past runs and drills every step of that chain has at least.
	Runs int `json:"runs"`
	// Never are steps that no past run or drill has had. They count as nothing: P50 and P95 are more than said.
	Never []string `json:"never_run,omitempty"`
	// Unread is what vaults did not tell of past runs.
	Unread string `json:"unread,omitempty"`
}

// Of is the choice of this name; nil when the table has none.
func (t *Table) Of(c plan.Choice) *Choice {
	if t == nil {
		return nil
	}

	for i := range t.Choices {
		if t.Choices[i].Choice == c {
			return &t.Choices[i]
		}
	}

	return nil
}
