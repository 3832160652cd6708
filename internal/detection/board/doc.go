// Package board keeps what vantage points saw of a group's region, what people have ordered
// about that, and which failovers have begun by themselves: small immutable records in the
// voters, which are the vaults and the witness.
//
// It promises that
//   - each place has its votes in a sequence of its own in every voter; who reads it again
//     pays for what is new;
//   - a vote that was there before this process began to read is shown, and never heard as new;
//   - people's orders count when a majority of the voters has taken them, and are known only
//     when a majority has told them;
//   - of those who want to begin a failover in one epoch one may.
//
// It judges nothing. A voter that is away is passed over.
package board
