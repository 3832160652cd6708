package evidence

import (
	"bytes"
	"encoding/json"
	"reflect"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"

	"drctl/internal/fail"
)

func example() Record {
	berlin := time.FixedZone("CET", 3600)
	t0 := time.Date(2026, 3, 14, 4, 0, 0, 123456789, berlin)

	return Record{Schema: Version, ID: "drill-nightly-1", Kind: RestoreDrill, Name: "nightly <&> \u2028", GeneratedAt: t0, Started: t0, Finished: t0.Add(time.Minute),
		Tool: Tool{Name: "drctl", Version: "0.1.0"}, Verdict: Verdict{Passed: true},
		Steps:      []Step{{ID: "a", Outcome: StepDone, Started: Known(t0), Finished: Known(t0.Add(time.Second))}},
		Checks:     []Check{{Name: "sum", Expected: "=5", Got: "5", Verdict: "passed", Took: 200 * 24 * time.Hour}},
		Objectives: Objectives{RTO: time.Minute}, Measured: Measured{RTO: Known(30 * time.Second)},
		Isolation: Isolation{Proven: true}, Attachments: []Attachment{Attach("plan.json", "application/json", []byte("{}"))}}
}

func TestFinalizeAndVerify(t *testing.T) {
	r, doc, err := Finalize(example())
	if err != nil {
		t.Fatal(err)
	}

	got, err := Verify(doc)
	if err != nil {
		t.Fatal(err)
	}

	if !reflect.DeepEqual(got, r) {
		t.Errorf("read back\n%+v\nwrote\n%+v", got, r)
	}

	again, doc2, err := Finalize(got)
	if err != nil || again.ContentSHA256 != r.ContentSHA256 || !bytes.Equal(doc, doc2) {
		t.Error("finalizing again changes the record")
	}

	if bytes.Contains(doc, []byte("null")) {
		t.Errorf("a list is null:\n%s", doc)
	}

	if !bytes.Contains(doc, []byte(`"2026-03-14T03:00:00.123456789Z"`)) {
		t.Error("times are not UTC")
	}
}

func TestFinalizeLeavesTheCallersListsAlone(t *testing.T) {
	in := example()

	before := *in.Steps[0].Started.Value
	if _, _, err := Finalize(in); err != nil {
		t.Fatal(err)
	}

	if in.Steps[0].Started.Value.Location() != before.Location() {
		t.Error("the caller's step was changed")
	}
}

func TestVerifyAcceptsAnotherLayoutOfTheSameRecord(t *testing.T) {
	_, doc, err := Finalize(example())
	if err != nil {
		t.Fatal(err)
	}
	var m map[string]any
	d := json.NewDecoder(bytes.NewReader(doc))
	d.UseNumber()

	if err := d.Decode(&m); err != nil {
		t.Fatal(err)
	}

	compact, err := json.Marshal(m) // sorted members, HTML escapes, no space
	if err != nil {
		t.Fatal(err)
	}

	if _, err := Verify(compact); err != nil {
		t.Error(err)
	}
}

func TestReviewCanBeFilledInAfterwards(t *testing.T) {
	r, _, err := Finalize(example())
	if err != nil {
		t.Fatal(err)
	}
	r.Review = Review{Name: "A. Auditor", SignsSHA256: r.ContentSHA256}

	doc, err := marshal(r)
	if err != nil {
		t.Fatal(err)
	}

	if _, err := Verify(doc); err != nil {
		t.Error(err)
	}
}

// TestVerifyFindsEveryChange changes every single scalar of the record, one at
// a time, and expects each change to be found.
func TestVerifyFindsEveryChange(t *testing.T) {
	_, doc, err := Finalize(example())
	if err != nil {
		t.Fatal(err)
	}
	n := 0
	var walk func(v any, path string, set func(any))
	var root any
	d := json.NewDecoder(bytes.NewReader(doc))
	d.UseNumber()

	if err := d.Decode(&root); err != nil {
		t.Fatal(err)
	}
	try := func(path string, old, changed any, set func(any)) {
		set(changed)

		b, err := json.Marshal(root)
		if err != nil {
			t.Fatal(err)
		}

		set(old)

		n++

		if _, err := Verify(b); err == nil {
			t.Errorf("a change of %s is not found", path)
		}
	}
	walk = func(v any, path string, set func(any)) {
		switch v := v.(type) {
		case map[string]any:
			for k, e := range v {
				if path == "" && k == "review" {
					continue
				}

				walk(e, path+"/"+k, func(x any) { v[k] = x })
			}

			if path != "" {
				v["added"] = true
				try(path+" (a member added)", nil, v, func(any) {})
				delete(v, "added")
			}
		case []any:
			for i := range v {
				walk(v[i], path+"/-", func(x any) { v[i] = x })
			}

			try(path+" (an element added)", v, append(append([]any{}, v...), "x"), set)
		case string:
			try(path, v, v+"x", set)
		case json.Number:
			try(path, v, json.Number(v.String()+"0"), func(x any) {
				if x == json.Number("00") {
					x = json.Number("1")
				}

				set(x)
			})
		case bool:
			try(path, v, !v, set)
		}
	}
	walk(root, "", func(any) {})

	if n < 100 {
		t.Fatalf("only %d changes were tried", n)
	}
}

func TestVerifyCodes(t *testing.T) {
	r, doc, err := Finalize(example())
	if err != nil {
		t.Fatal(err)
	}

	s := string(doc)
	for name, c := range map[string]struct {
		doc  string
		code fail.Code
	}{
		"changed":        {strings.Replace(s, `"got": "5"`, `"got": "6"`, 1), fail.Corrupt},
		"hash removed":   {strings.Replace(s, r.ContentSHA256, "", 1), fail.Corrupt},
		"other schema":   {strings.Replace(s, Version, "drctl.evidence/9", 1), fail.Unsupported},
		"cut off":        {s[:len(s)/2], fail.Invalid},
		"two documents":  {s + s, fail.Invalid},
		"twice a member": {strings.Replace(s, `"passed": true`, `"passed": true, "passed": true`, 1), fail.Invalid},
		"not an object":  {"[]", fail.Invalid},
		"empty":          {"", fail.Invalid},
		"a fraction":     {strings.Replace(s, `"attempts": 0`, `"attempts": 0.5`, 1), fail.Invalid},
		"not UTF-8":      {strings.Replace(s, "nightly", "\xff", 1), fail.Invalid},
	} {
		if c.doc == s {
			t.Fatalf("%s: nothing was changed", name)
		}

		if _, err := Verify([]byte(c.doc)); !fail.Is(err, c.code) {
			t.Errorf("%s: %v, want code %s", name, err, c.code)
		}
	}
}

// TestVerifyFindsContradictions rewrites the record with a right hash.
func TestVerifyFindsContradictions(t *testing.T) {
	for name, spoil := range map[string]func(*Record){
		"passed with a failed check":    func(r *Record) { r.Checks[0].Verdict = "failed" },
		"passed with failures":          func(r *Record) { r.Verdict.Failures = []string{"x"} },
		"failed without saying why":     func(r *Record) { r.Verdict.Passed = false },
		"unknown verdict":               func(r *Record) { r.Checks[0].Verdict = "fine" },
		"unknown outcome":               func(r *Record) { r.Steps[0].Outcome = "ok" },
		"ends before it began":          func(r *Record) { r.Finished = r.Started.Add(-1) },
		"step ends before it began":     func(r *Record) { r.Steps[0].Finished = Known(r.Started.Add(-1)) },
		"isolation in spite of contact": func(r *Record) { r.Isolation.ProductionTouched = []string{"orders/0@east"} },
		"no id":                         func(r *Record) { r.ID = "" },
	} {
		r := example()
		spoil(&r)

		if _, _, err := Finalize(r); err == nil {
			t.Errorf("%s: sealed", name)
		}

		r.normalise()

		doc, err := marshal(r)
		if err != nil {
			t.Fatal(err)
		}

		if r.ContentSHA256, _, err = contentHash(doc); err != nil {
			t.Fatal(err)
		}

		if doc, err = marshal(r); err != nil {
			t.Fatal(err)
		}

		if _, err := Verify(doc); !fail.Is(err, fail.Corrupt) {
			t.Errorf("%s: verified: %v", name, err)
		}
	}
}

func TestMaybe(t *testing.T) {
	for doc, ok := range map[string]bool{`{"value":""}`: true, `{"value":"x"}`: true, `{"not_recorded":"why"}`: true,
		`{}`: false, `{"value":"x","not_recorded":"why"}`: false, `{"not_recorded":""}`: false, `null`: false} {
		var m Text

		err := json.Unmarshal([]byte(doc), &m)
		if (err == nil) != ok {
			t.Errorf("%s: %v", doc, err)
		}
	}

	b, err := json.Marshal(struct{ A Span }{})
	if err != nil || string(b) != `{"A":{"not_recorded":"no reason given"}}` {
		t.Errorf("%s %v", b, err)
	}

	if b, _ = json.Marshal(Known(time.Duration(0))); string(b) != `{"value":0}` {
		t.Errorf("a recorded zero is lost: %s", b)
	}
}

// canonical rewrites JSON as Finalize does.
func canonical(doc []byte) ([]byte, error) {
	v, err := parse(doc)
	return appendValue(nil, v), err
}

func TestCanonical(t *testing.T) {
	// The sorting and escaping examples of RFC 8785, without fractions.
	in := `{"\u20ac":"Euro Sign","\r":"Carriage Return","\ufb33":"Hebrew Letter Dalet With Dagesh","1":"One","\ud83d\ude00":"Emoji: Grinning Face","\u0080":"Control","\u00f6":"Latin Small Letter O With Diaeresis"}`

	want := "{\"\\r\":\"Carriage Return\",\"1\":\"One\",\"\u0080\":\"Control\",\"\u00f6\":\"Latin Small Letter O With Diaeresis\",\"\u20ac\":\"Euro Sign\",\"\U0001f600\":\"Emoji: Grinning Face\",\"\ufb33\":\"Hebrew Letter Dalet With Dagesh\"}"
	if got, err := canonical([]byte(in)); err != nil || string(got) != want {
		t.Errorf("got %q %v\nwant %q", got, err, want)
	}
	in = `{ "string": "\u20ac$\u000F\u000aA'\u0042\u0022\u005c\\\"\/", "literals": [null, true, false], "n": [0, -7, 9007199254740993] }`

	want = `{"literals":[null,true,false],"n":[0,-7,9007199254740993],"string":"€$\u000f\nA'B\"\\\\\"/"}`
	if got, err := canonical([]byte(in)); err != nil || string(got) != want {
		t.Errorf("got %s %v\nwant %s", got, err, want)
	}

	if _, err := canonical([]byte(strings.Repeat("[", 100000))); err == nil {
		t.Error("endless nesting is accepted")
	}

	rapid.Check(t, func(t *rapid.T) {
		b, _ := json.Marshal(rapid.MapOf(rapid.String(), rapid.SliceOf(rapid.String())).Draw(t, "m"))

		once, err := canonical(b)
		if err != nil {
			t.Fatal(err)
		}

		twice, err := canonical(once)
		if err != nil || !bytes.Equal(once, twice) {
			t.Fatalf("%q becomes %q: %v", once, twice, err)
		}
	})
}
