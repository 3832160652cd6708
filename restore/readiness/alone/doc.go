// Package alone says what one vault alone holds of a group: whether it can be recovered
// from it, and to when. It promises that nothing else is asked, so that the answer is also
// that of the day when nothing else is there. It says nothing of what is live.
package alone
