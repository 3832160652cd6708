// Package batches keeps batches of observations in vaults and finds them again.
//
// It promises that
//   - a batch is stored whole or not at all, and is never changed;
//   - what it returns has the form of package observation, and is of the group and
//     the time that its name says; whatever is not is named and passed over;
//   - what it costs to read follows the time that is asked for, not what is kept.
//
// It never judges what was observed, and never removes: retention does.
package batches
