package recovery

import (
	"encoding/base64"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"drctl/config/workers"
)

// Problem is what is wrong with a key.
type Problem struct{ Key, Text, Hint string }

// Recovery is how a group comes back.
type Recovery struct {
	Order        []string                                  `yaml:"order" doc:"Targets in the order in which they come back; the rest comes last, together."`
	Parallel     int                                       `yaml:"parallel" min:"1" doc:"Shards restored at the same time."`
	Destinations map[string]map[string]workers.Destination `yaml:"destinations" doc:"Empty instances to restore into, by target and shard."`

	Choice    string               `yaml:"choice" enum:"newest|proven" doc:"Which recovery a failover is when nobody says so. newest: each shard as far as it gets. proven: the whole group at the newest moment that is proven to be consistent."`
	Decision  string               `yaml:"decision" enum:"people|automatic" doc:"Who begins a failover. people: a person runs the command. automatic: when detection calls the region lost it begins by itself, if no person is needed to show that the old side is silent."`
	Approvals int                  `yaml:"approvals" min:"0" doc:"How many different people have to approve a recovery between regions that a person has begun; 0 asks nobody."`
	Within    time.Duration        `yaml:"within" min:"1s" doc:"For how long approvals are waited for; then the recovery is given up."`
	Approvers map[string]*Approver `yaml:"approvers" key:"word" doc:"Who may approve, by name. With them an approval counts only when it is signed with a key of the person."`
	Fence     []string             `yaml:"fence" doc:"Program and arguments that take power or network from a server of the region that is left: its success is proof of silence. It is told which by DRCTL_INSTANCE, DRCTL_ADDRESS, DRCTL_SHARD and DRCTL_REGION."`
	Verified  time.Duration        `yaml:"verified_for" min:"0s" doc:"For how long a run or a drill of a plan shows that the plan works; 0s is for ever."`
	Stay      []string             `yaml:"stay" doc:"Targets that a recovery between regions leaves where they are, such as a bucket that both regions use."`
}

// SetDefaults fills in what is left out.
func (r *Recovery) SetDefaults() {
	r.Parallel, r.Choice, r.Decision, r.Within, r.Verified = 4, Newest, People, time.Hour, VerifiedFor
}

// VerifiedFor is for how long a run or a drill counts where the configuration does not say.
const VerifiedFor = 90 * 24 * time.Hour

// Newest is the choice of who says nothing.
const Newest = "newest"

// The decisions.
const (
	People    = "people"
	Automatic = "automatic"
)

// Approver is somebody who may approve.
type Approver struct {
	Keys []string `yaml:"keys" req:"true" doc:"Public keys, each a line as in authorized_keys: ssh-ed25519, or sk-ssh-ed25519@openssh.com of a security key."`
}

// Detection is how the loss of a region is detected.
type Detection struct {
	Off      bool          `yaml:"off" doc:"Nobody looks, and no failover begins by itself."`
	Interval time.Duration `yaml:"interval" min:"100ms" doc:"How often every vantage point looks at the primaries of the region that may write."`
	Limit    time.Duration `yaml:"limit" min:"50ms" doc:"How long a server may take to answer."`
	Lost     time.Duration `yaml:"lost" min:"500ms" doc:"For how long everything has to speak for a loss, without a break, before a region is called lost. A region that has come and gone is waited for longer."`
	Up       time.Duration `yaml:"up" min:"500ms" doc:"For how long a suspected region has to be well before it is called up again."`
	Votes    int           `yaml:"votes" min:"2" doc:"How many places have to see each primary dead; that a majority of vaults and witness has not heard of the region's guards for two thirds of their lease is one more vote."`
	Block    time.Duration `yaml:"block" min:"0s" doc:"For how long after a recovery has begun nothing begins by itself."`
	Places   []string      `yaml:"places" format:"name" doc:"Vantage points besides the workers of the regions: drctl detection watch --at NAME runs there."`
}

// SetDefaults fills in what is left out.
func (d *Detection) SetDefaults() {
	*d = Detection{Interval: time.Second, Limit: time.Second, Lost: 5 * time.Second, Up: 10 * time.Second, Votes: 2, Block: 10 * time.Minute}
}

// Stale is after how long a vote counts no more. A look takes a limit, or two where servers
// take connections and say nothing, and voters that do not answer take one more: by then it
// has to count still.
func (d Detection) Stale() time.Duration { return max(3*d.Interval+d.Limit, d.Interval+3*d.Limit) }

// Check lists what is wrong with values that were read well. automatic says that a group
// has that policy.
func (d Detection) Check(regions []string, automatic bool) (out []Problem) {
	wrong := func(key, hint, format string, args ...any) {
		out = append(out, Problem{key, fmt.Sprintf(format, args...), hint})
	}

	if d.Lost < 3*d.Interval {
		wrong("lost", "whoever sees the region alive has to have time to say so", "%s are fewer than three intervals of %s", d.Lost, d.Interval)
	}

	for i, p := range d.Places {
		if slices.Contains(regions, p) || slices.Contains(d.Places[:i], p) {
			wrong(fmt.Sprintf("places.%d", i), "", "%q is a vantage point already", p)
		}
	}

	if automatic && d.Off {
		wrong("off", "leave it out, or let people decide", "a group is to fail over by itself, and nobody looks")
	}

	return out
}

// Check lists what is wrong with how a group is decided about. voters is how many stores
// have a vote.
func (r *Recovery) Check(targets []string, voters int) (out []Problem) {
	wrong := func(key, hint, format string, args ...any) {
		out = append(out, Problem{key, fmt.Sprintf(format, args...), hint})
	}

	if r.Decision == Automatic && voters < 3 {
		wrong("decision", "name a witness", "with %d voters nothing would keep another engine from a recovery at the same time", voters)
	}

	if n := len(r.Approvers); n > 0 && (r.Approvals == 0 || r.Approvals > n) {
		wrong("approvals", "", "%d approvals are wanted of %d people", r.Approvals, n)
	}

	seen := map[string]string{}
	for _, name := range slices.Sorted(maps.Keys(r.Approvers)) {
		for i, line := range r.Approvers[name].Keys {
			key := fmt.Sprintf("approvers.%s.keys.%d", name, i)

			words := strings.Fields(line)
			if !signs(words) {
				wrong(key, "make one with ssh-keygen -t ed25519, and write the line of the .pub file", "this is no public key of the kind ssh-ed25519")
				continue
			}

			if other, ok := seen[words[1]]; ok {
				wrong(key, "each person has a key of their own", "%s has the same key", other)
			}
			seen[words[1]] = name
		}
	}

	if len(r.Fence) > 0 && !strings.HasPrefix(r.Fence[0], "/") {
		wrong("fence", "fence: [/usr/local/bin/program, argument]", "a program is named by its absolute path")
	}

	for i, t := range r.Stay {
		if len(targets) > 0 && !slices.Contains(targets, t) {
			wrong(fmt.Sprintf("stay.%d", i), "", "target %s is not in the group", t)
		}
	}

	return out
}

// signs reports whether the words are a public key that approvals are signed with.
func signs(words []string) bool {
	if len(words) < 2 || words[0] != "ssh-ed25519" && words[0] != "sk-ssh-ed25519@openssh.com" {
		return false
	}
	b, err := base64.StdEncoding.DecodeString(words[1])

	return err == nil && len(b) > len(words[0])+4 && string(b[4:4+len(words[0])]) == words[0]
}
