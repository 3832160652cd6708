// Package parted brings together what went on separately: two sides of a store, by what both had
// when they parted, and two vaults.
//
// It promises that what was taken after they parted is never called what both had, and that a merge
// of vaults overwrites and deletes nothing.
package parted
