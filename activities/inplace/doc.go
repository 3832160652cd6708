// Package inplace lets a shard be laid down where its standby is: the standby is stopped, its
// directory is moved aside, and what a restore lays down takes its place.
//
// It promises that the standby's directory is renamed and never emptied or deleted; that
// what was done is written beside it before the next is begun, so that whoever goes on after
// a death knows where it stands; that nothing is stopped before there is room; and that all
// of it can be taken back until the new server is woken.
package inplace
