// Package gameday is what a game day is: what is planted and what is asked, by which gates
// it may begin, how it is judged, and the record that it leaves.
//
// It promises that a drill whose fault was not planted, or was not taken away, has not
// passed; that a red drill passes only when its check was quiet before and went off then;
// that servers which are not a lab's are out of bounds unless the drill names the platform,
// its plan is verified and two people have approved; and that every failure is a finding
// with an owner and a date, where the drill names them. It is pure: it plants nothing and
// asks nobody.
package gameday
