// Package comeback makes a side that was left a standby of the present primary: as it is,
// rewound, or rebuilt from a vault, the cheapest way first.
//
// It promises that what the side alone has is kept in the vaults before it is undone. It
// never empties a directory: one that is in the way is named, with the command that moves it.
package comeback
