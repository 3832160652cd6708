// Package judge says whether a cut is what its grade promises, from the outside
// truth: the journal of the clients against what is in the cut. What is in it
// comes from recovered servers, or from the cut's positions alone, which costs nothing
// and is good for hundreds of cuts.
//
// It promises that
//   - a cut that is proven is judged whole in its global transactions but those that
//     it lists as broken and that were; causally closed; with all that was
//     acknowledged before its instant, and nothing that was sent after it;
//     and each transaction in doubt is resolved by the rule;
//   - a cut that is ordered is judged by all of this but for wholeness; one that is locked
//     is whole in what moves between the tables that were locked;
//   - what is not known is no fault and not counted as compared; a cut of which
//     nothing could be compared is at fault.
//
// It is pure, and shares no code with what finds, proves or recovers a cut.
package judge
