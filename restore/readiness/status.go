package readiness

import (
	"time"

	"drctl/restore/readiness/problem"
	"drctl/targets"
)

// Instance is what one instance of a shard says of itself.
type Instance struct {
	Shard  targets.ShardID `json:"shard"`
	Region string          `json:"region"`
	Status targets.Status  `json:"status"`
	Error  string          `json:"error,omitempty"`
	// Lacks are rights that the instance's user does not have.
	Lacks []targets.Lack `json:"lacks,omitempty"`

	err, lacksErr error
}

// Shard is how far a shard that has a log is archived.
type Shard struct {
	Shard     targets.ShardID `json:"shard"`
	Archiving bool            `json:"archiving"`
	Archived  uint64          `json:"archived_offset"`
	// Behind is how many bytes of the primary's log are not durable yet.
	Behind     int64     `json:"behind_bytes"`
	NewestBase time.Time `json:"newest_base,omitzero"`
	Problem    string    `json:"problem,omitempty"`
}

// Status is the readiness of one group: whether it is recoverable, how far behind
// each shard is, and everything that is wrong. Its JSON is what drctl status
// --json prints.
type Status struct {
	Group     string     `json:"group"`
	Engine    string     `json:"engine"`
	Instances []Instance `json:"instances"`
	Shards    []Shard    `json:"shards"`
	// NewestCut is the newest cut that any vault offers; RPO is its age.
	NewestCut string   `json:"newest_cut,omitempty"`
	CutVaults []string `json:"cut_in_vaults,omitempty"`
	// RecoverableIn are the vaults whose own newest cut a restore plan can be
	// made for.
	RecoverableIn []string `json:"recoverable_in"`
	// Checks are the newest checks of the vaults.
	Checks       []Check       `json:"checks"`
	RPO          time.Duration `json:"rpo_ns"`
	RPOObjective time.Duration `json:"rpo_objective_ns"`
	Running      []string      `json:"running"`
	// Problems are the details as lines for people.
	Problems []string  `json:"problems"`
	Details  []Problem `json:"problem_details"`
	// Vaults are those of the policy, in its order; for those who show more than
	// the command does.
	Vaults []Vault `json:"-"`
}

// Check is the newest check of one vault.
type Check struct {
	Region  string    `json:"region"`
	Started time.Time `json:"started"`
	Checks  int       `json:"checks"`
	Failed  int       `json:"failed"`
}

// Vault is how far one vault of the policy is behind.
type Vault struct {
	Region string
	// Newest is the newest sealed cut that it offers; "" when there is none, or
	// none could be read.
	Newest string
	// Behind is how much older that is than the newest of all.
	Behind time.Duration
	// Recoverable says that a plan to recover its newest cut can be made.
	Recoverable bool
	Err         error // it cannot be opened, or does not answer
}

// Status judges the facts and sums them up.
func (f Facts) Status() Status {
	g := f.group

	st := Status{Group: g.Name, Engine: "running", Instances: f.instances, RPOObjective: g.Policy.RPO, Running: f.engine.Other,
		RecoverableIn: []string{}, Checks: []Check{}, Details: f.Judge()}
	if st.Running == nil {
		st.Running = []string{}
	}

	if f.engine.Err != nil {
		st.Engine = "unreachable: " + f.engine.Err.Error()
	}

	for _, x := range f.shards() {
		if f.kind(x.Shard.Shard).Traits().Log {
			st.Shards = append(st.Shards, x.Shard)
		}
	}

	newest := f.newestCut()
	for _, v := range f.vaults {
		if !v.policy || v.newest.ID == "" {
			continue
		}

		if v.newest.ID == newest.ID {
			st.CutVaults = append(st.CutVaults, v.region)
		}

		if v.planErr == nil {
			st.RecoverableIn = append(st.RecoverableIn, v.region)
		}
	}

	if newest.ID != "" {
		st.NewestCut, st.RPO = newest.ID, f.now.Sub(newest.QuiescedAt)
	}

	for _, c := range f.checks {
		if n := c.checks.Newest; !n.Started.IsZero() {
			st.Checks = append(st.Checks, Check{Region: c.region, Started: n.Started, Checks: n.Checks, Failed: n.Failed})
		}
	}
	st.Vaults = f.vaultsOf(newest)
	st.Problems = problem.Texts(st.Details, f.now)

	return st
}

func (f Facts) kind(id targets.ShardID) targets.Kind {
	for _, sh := range f.group.Shards {
		if sh.Shard == id {
			return sh.Kind
		}
	}

	return ""
}

// vaultsOf says how far each vault of the policy is behind the newest cut.
func (f Facts) vaultsOf(newest targets.Cut) []Vault {
	var out []Vault
	for _, v := range f.vaults {
		if !v.policy {
			continue
		}

		x := Vault{Region: v.region, Newest: v.newest.ID, Recoverable: v.newest.ID != "" && v.planErr == nil, Err: v.err}
		if x.Newest != "" {
			x.Behind = newest.QuiescedAt.Sub(v.newest.QuiescedAt)
		}
		out = append(out, x)
	}

	return out
}
