package timelines

import "testing"

func TestHistory(t *testing.T) {
	h, err := Parse([]byte("1\t0/3000158\tno recovery target specified\n\n# remark\n2\t1/16B6C50\tbefore 2026-01-01\n"))
	if err != nil || len(h) != 2 {
		t.Fatal(h, err)
	}

	for _, x := range []struct {
		lsn  uint64
		want uint32
	}{{0, 1}, {0x3000157, 1}, {0x3000158, 2}, {0x1016B6C4F, 2}, {0x1016B6C50, 3}, {1 << 60, 3}} {
		if got := h.At(x.lsn, 3); got != x.want {
			t.Errorf("at(%X) = %d, want %d", x.lsn, got, x.want)
		}
	}

	p, ok := h.Parent("77")
	if !ok || p.Timeline != "77-00000002" || p.Offset != 0x1016B6C50 || h.Begin() != p.Offset || h.Find(2) != 1 || h.Find(3) != -1 {
		t.Fatalf("%+v", p)
	}

	if all := h.Left("77"); len(all) != 2 || all[0].Timeline != "77-00000001" || all[1] != p {
		t.Fatalf("%+v", all)
	}

	for _, bad := range []string{"1", "x\t0/1\t", "1\tzz\t"} {
		if _, err := Parse([]byte(bad)); err == nil {
			t.Errorf("%q was accepted", bad)
		}
	}

	if n := SegmentName(0x1A, 0x2_FF000010, 16<<20); n != "0000001A00000002000000FF" {
		t.Fatal(n)
	}

	if n := SegmentName(1, 0x2_FF000010, 64<<20); n != "00000001000000020000003F" {
		t.Fatal(n)
	}
}
