package assert

import (
	"math/big"
	"strings"
	"testing"
)

func TestMeets(t *testing.T) {
	for _, c := range []struct {
		want, got string
		ok        bool
		why       string
	}{
		// As text without an operator.
		{"5", "5", true, ""}, {"5", "5.0", false, ""}, {"5.00", "5", false, ""}, {"", "", true, ""}, {"5", " 5", false, ""},
		{"active", "active", true, ""}, {"active", "Active", false, ""}, {"NaN", "NaN", true, ""},
		// As numbers after one.
		{"=5", "5.0", true, ""}, {"= 5", "5", true, ""}, {"!=5", "5.00", false, ""}, {"<10", "9", true, ""}, {"<10", "10", false, ""},
		{"<=10", "10", true, ""}, {">9", "10", true, ""}, {">=10", "9.999", false, ""}, {"=0.3", "0.30", true, ""}, {"> 10.5", "10.50", false, ""},
		{"=1e3", "1000", true, ""}, {"= -5", "-5.0", true, ""}, {"= 5", " 5 ", true, ""}, {"= .5", "0.5", true, ""},
		// Exactly.
		{"=9007199254740993", "9007199254740992", false, ""}, {"> 9007199254740992", "9007199254740993", true, ""},
		{"=0.1", "0.1000000000000000055511151231257827", false, ""}, {"!= 1e-300", "0", true, ""}, {"= 123456789012345678901234567890.5", "123456789012345678901234567890.50", true, ""},
		// What is no number fails and says so.
		{"=5", "", false, "no number"}, {"> 5", "abc", false, "no number"}, {"!= 5", "abc", false, "no number"}, {">0", "0x1", false, "no number"},
		{"= 5", "1/2", false, "no number"}, {"< 5", "1_000", false, "no number"}, {"> 5", "1e1000000000", false, "no number"}, {"<= 5", "five", false, "no number"},
		// Not finite, with every operator.
		{"= 5", "nan", false, "finite"}, {"!= 5", "NaN", false, "finite"}, {">= 5", "Infinity", false, "finite"}, {"< 5", "-inf", false, "finite"},
		{"= nan", "nan", false, "finite"}, {"!= error", "inf", false, "finite"}, {"> 5", "+inf", false, "finite"},
		// Texts after an operator: whether they are the same, and no more.
		{"=abc", "abc", true, ""}, {"!= abc", "abd", true, ""}, {"!= abc", "abc", false, ""}, {"< b", "a", false, "compares numbers"}, {">= 2026-01-01", "2026-02-01", false, "compares numbers"},
		{">", "1", false, "compares numbers"}, {"= 1/2", "0.5", false, ""},
		// Nothing meets nothing alone.
		{"NULL", "NULL", true, ""}, {"= NULL", "NULL", true, ""}, {"(nil)", "(nil)", true, ""}, {"(empty)", "(empty)", true, ""},
		{"!= 0", "NULL", false, "returned nothing"}, {"<5", "(nil)", false, "returned nothing"}, {"!=", "(nil)", false, "returned nothing"}, {"!= x", "(empty)", false, "returned nothing"},
		{"", "NULL", false, "returned nothing"}, {"NULL", "(nil)", false, "returned nothing"}, {"!= NULL", "NULL", false, "returned nothing"},
		{"!= NULL", "5", true, ""}, {"!= (nil)", "x", true, ""}, {"NULL", "5", false, ""},
	} {
		ok, why := Meets(c.want, c.got)

		words := c.why
		if words == "no number" {
			words = "is none"
		}

		if ok != c.ok || !strings.Contains(why, words) || words == "" && why != "" {
			t.Errorf("%q against %q: %v %q, want %v %q", c.got, c.want, ok, why, c.ok, c.why)
		}
	}
}

func TestAnswersOfAnyLengthAreQuotedInPart(t *testing.T) {
	if _, why := Meets("> 1", strings.Repeat("x", 1<<20)); len(why) > 200 {
		t.Fatalf("%d bytes of words", len(why))
	}
}

func TestNumbers(t *testing.T) {
	sum := new(big.Rat)
	for _, s := range []string{"0.1", "0.2", "9007199254740993", "-0.30"} {
		n, ok := Number(s)
		if !ok {
			t.Fatal(s)
		}

		sum.Add(sum, n)
	}

	if got := FormatNumber(sum); got != "9007199254740993" {
		t.Fatal(got)
	}

	if n, _ := Number("10.250"); FormatNumber(n) != "10.25" {
		t.Fatal(FormatNumber(n))
	}

	if AsNumber("5") != "=5" || AsNumber("> 5") != "> 5" {
		t.Fatal("AsNumber")
	}
}

// Whatever is wanted and answered: no panic, no pass beside the rules, and each
// operator holds exactly when its opposite does not.
func FuzzMeets(f *testing.F) {
	for _, s := range [][2]string{{"=5", "5.0"}, {"> 9007199254740992", "9007199254740993"}, {"!= x", "nan"}, {"<1e999", "-1e-999"}, {"NULL", "NULL"}, {"=", ""}, {">=", "(nil)"}} {
		f.Add(s[0], s[1])
	}

	f.Fuzz(func(t *testing.T, want, got string) {
		ok, why := Meets(want, got)
		if ok && why != "" {
			t.Fatalf("%q against %q passes and says %q", got, want, why)
		}

		op, limit := split(want)
		if ok && op == "" && want != got {
			t.Fatalf("%q met %q without an operator", got, want)
		}
		a, isA := Number(got)

		b, isB := Number(limit)
		if ok && op != "" && isB && !isA {
			t.Fatalf("%q is no number and met %q", got, want)
		}

		if ok && strings.ContainsAny(op, "<>") && !isB {
			t.Fatalf("%q met %q, which names no number", got, want)
		}

		if !isA || !isB || op == "" {
			return
		}

		meets := func(op string) bool { ok, _ := Meets(op+limit, got); return ok }
		for _, pair := range [][2]string{{"=", "!="}, {"<", ">="}, {">", "<="}} {
			if meets(pair[0]) == meets(pair[1]) {
				t.Fatalf("%q against %q: both or none of %v", got, limit, pair)
			}
		}

		if meets("=") != (a.Cmp(b) == 0) || meets("<") != (a.Cmp(b) < 0) {
			t.Fatalf("%q against %q", got, limit)
		}

		if n, ok := Number(FormatNumber(a)); !ok || a.IsInt() && n.Cmp(a) != 0 {
			t.Fatalf("%q is written %q", got, FormatNumber(a))
		}
	})
}
