// Package parted finds what two sides of a store had when they went on separately, and has
// them brought together.
//
// It promises that what was taken after they parted is never called what both had.
package parted
