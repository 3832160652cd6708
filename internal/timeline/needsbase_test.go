package timeline

import (
	"testing"

	"drctl/targets"
)

func TestNeedsBase(t *testing.T) {
	base := func(l string, at uint64) targets.Artifact { return targets.Artifact{From: pos(l, at)} }
	l := Timeline{ID: "L", Origin: true, Chunks: []Chunk{{From: 0, To: 100}, {From: 300, To: 400}}, Holes: []Gap{{100, 300}}}
	m := Timeline{ID: "M", Origin: true, Offset: 400, Parent: pos("L", 400), Chunks: []Chunk{{From: 400, To: 500}}}
	late := Timeline{ID: "M", Origin: true, Offset: 450, Parent: pos("L", 420), Chunks: m.Chunks}
	lost := l
	lost.Holes = append([]Gap{{400, 420}}, l.Holes...)
	filled := l

	filled.Chunks = append([]Chunk{{From: 90, To: 310}}, l.Chunks...)
	for name, c := range map[string]struct {
		ls    []Timeline
		bases []targets.Artifact
		want  Break
	}{
		"no base at all":              {[]Timeline{l}, nil, Break{}},
		"base before the hole":        {[]Timeline{l}, []targets.Artifact{base("L", 50)}, Break{"L", Gap{100, 300}}},
		"base behind the hole":        {[]Timeline{l}, []targets.Artifact{base("L", 50), base("L", 300)}, Break{}},
		"the hole was filled":         {[]Timeline{filled}, []targets.Artifact{base("L", 50)}, Break{}},
		"hole in the parent":          {[]Timeline{l, m}, []targets.Artifact{base("L", 50)}, Break{"L", Gap{100, 300}}},
		"base of the parent":          {[]Timeline{l, m}, []targets.Artifact{base("L", 350)}, Break{}},
		"base of another branch":      {[]Timeline{l, m}, []targets.Artifact{base("L", 410)}, Break{"L", Gap{100, 300}}},
		"only another branch's base":  {[]Timeline{filled, m}, []targets.Artifact{base("L", 410)}, Break{"M", Gap{400, 400}}},
		"base of the child":           {[]Timeline{l, m}, []targets.Artifact{base("M", 410)}, Break{}},
		"hole over the switch":        {[]Timeline{lost, late}, []targets.Artifact{base("L", 350)}, Break{"M", Gap{400, 450}}},
		"another log":                 {[]Timeline{l, {ID: "X", Origin: true, Offset: 7, Began: l.Began.Add(1)}}, []targets.Artifact{base("L", 350)}, Break{"X", Gap{7, 7}}},
		"another log with a base":     {[]Timeline{l, {ID: "X", Origin: true, Offset: 7, Began: l.Began.Add(1)}}, []targets.Artifact{base("X", 8)}, Break{}},
		"a base before its log":       {[]Timeline{{ID: "X", Origin: true, Offset: 7}}, []targets.Artifact{base("X", 6)}, Break{"X", Gap{7, 7}}},
		"parents that form a loop":    {[]Timeline{{ID: "X", Parent: pos("X", 0)}}, []targets.Artifact{base("L", 1)}, Break{}},
		"nothing archived but a base": {nil, []targets.Artifact{base("L", 1)}, Break{}},
	} {
		got, ok := NeedsBase(c.ls, c.bases)
		if got != c.want || ok != (c.want != Break{}) {
			t.Errorf("%s: %+v %v, want %+v", name, got, ok, c.want)
		}
	}
}
