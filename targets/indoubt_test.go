package targets

import (
	"encoding/json"
	"reflect"
	"strings"
	"testing"
)

// A gid is bytes in the encoding of its database: none is changed on its way.
func TestInDoubtKeepsEveryByte(t *testing.T) {
	for _, gid := range []GID{"a", "base64:YQ==", "base64:?", "it's \"odd\" \\ %s", " ", "two\nlines", "\xe9t\xe9 \xff", "\ufffd", GID(strings.Repeat("ü", 99))} {
		want := InDoubt{GID: gid, Action: InDoubtCommit, Group: "g", Reason: "r"}

		b, err := json.Marshal(want)
		if err != nil {
			t.Fatal(err)
		}

		var got InDoubt
		if err := json.Unmarshal(b, &got); err != nil || !reflect.DeepEqual(got, want) {
			t.Errorf("%q came back as %q by %s: %v", gid, got.GID, b, err)
		}

		if err := got.Check(); err != nil {
			t.Errorf("%q: %v", gid, err)
		}
	}
}

func TestInDoubtRefuses(t *testing.T) {
	good := InDoubt{GID: "a", Action: InDoubtLeave}
	for name, all := range map[string][]InDoubt{
		"no gid":         {{Action: InDoubtLeave}},
		"a long gid":     {{GID: GID(strings.Repeat("x", 200)), Action: InDoubtLeave}},
		"no action":      {{GID: "a"}},
		"another action": {{GID: "a", Action: "drop"}},
		"a long reason":  {{GID: "a", Action: InDoubtLeave, Reason: strings.Repeat("x", 1025)}},
		"twice":          {good, good},
	} {
		p := ShardPoint{Shard: ShardID{"orders", "0"}, Kind: Postgres, Region: "east", Position: Position{Kind: Postgres, Timeline: "7-00000001"}, InDoubt: all}
		if p.Check() == nil {
			t.Errorf("%s is not refused", name)
		}

		p.InDoubt = []InDoubt{good}
		if err := p.Check(); err != nil {
			t.Error(err)
		}
	}
}
