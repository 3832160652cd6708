// Package masters tells of which Redis masters of a group a cut can be looked for without a pause of theirs.
//
// It promises that it leaves out only those with which there is no cut: several masters are cut at one
// instant only while all but one of them stand still. It is pure.
package masters
