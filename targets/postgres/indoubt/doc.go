// Package indoubt ends the transactions that are prepared in a server which was
// recovered to a cut, as the proof of the cut says, and judges what is left.
//
// It promises that
//   - nothing is ended but what the cut lists, by its exact name, in its own database;
//   - every transaction that is listed, and every one that is prepared and not
//     listed, is told, with the reason;
//   - one that the cut says is prepared, and that is not, is damage: the recovered state
//     is another than the one that was proven.
//
// It never decides what is right: the cut does. It is asked once after each
// recovery: a recovery that is repeated brings all of them back.
package indoubt
