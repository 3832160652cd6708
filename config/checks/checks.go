package checks

// Checks are a drill's expectations.
type Checks struct {
	Quick      bool                   `yaml:"quick" doc:"Leaves out the checks that read every byte."`
	Assertions map[string][]Assertion `yaml:"assertions" doc:"Queries and what they must return, by target."`
	Objects    []ObjectCheck          `yaml:"objects" doc:"Objects that rows name must exist and hash right."`
	Sums       []Sum                  `yaml:"sums" doc:"Invariants that span shards."`
}

// All is the shard of an assertion that runs on every shard.
const All = "all"

// Assertion is a query that every named shard must answer as expected.
type Assertion struct {
	Name  string `yaml:"name" req:"true" doc:"Shown in reports."`
	Query string `yaml:"query" req:"true" doc:"SQL, or a Redis command line."`
	Want  string `yaml:"want" req:"true" lax:"true" doc:"First column of the first row, as text; a leading =, !=, <, <=, > or >= compares numbers."`
	Shard string `yaml:"shard" lax:"true" doc:"One shard, or all."`
}

// ObjectCheck compares the objects of a bucket with the rows that name them.
type ObjectCheck struct {
	Target string `yaml:"target" req:"true" doc:"The s3 target."`
	From   string `yaml:"from" req:"true" doc:"The postgres target; the query runs on all its shards."`
	Query  string `yaml:"query" req:"true" doc:"SQL that returns the key and, as a second column, the SHA-256 in hex."`

	AllowEmpty bool `yaml:"allow_empty" doc:"Accepts that no row names an object; without it that is a failure, because nothing was looked at."`
}

// Sum is an invariant over all shards of a target.
type Sum struct {
	Name   string `yaml:"name" req:"true" doc:"Shown in reports."`
	Target string `yaml:"target" req:"true" doc:"The postgres target."`
	Query  string `yaml:"query" req:"true" doc:"SQL whose first column is added over all shards."`
	Want   string `yaml:"want" req:"true" lax:"true" doc:"The sum, a number; may begin with =, !=, <, <=, > or >=."`
}

// SetDefaults fills in what is left out.
func (a *Assertion) SetDefaults() { a.Shard = All }

// Twice are the places of those that are called as one before them.
func Twice(as []Assertion) (out []int) {
	names := map[string]bool{}
	for i, a := range as {
		if names[a.Name+"\x00"+a.Shard] {
			out = append(out, i)
		}
		names[a.Name+"\x00"+a.Shard] = a.Name != ""
	}

	return out
}
