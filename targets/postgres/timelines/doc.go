// Package timelines knows how the timelines of a PostgreSQL cluster descend from
// each other, and what the files of its log are called.
//
// It promises that two places are compared by ancestry and position together: the
// number of a timeline alone says nothing. It is pure: bytes and values in, values
// out.
package timelines
