// Package proof holds the theorem by which a cut is read out of the logs of
// servers that know nothing of each other, and the values of such a proof: the
// look (stretches of log, samples of clocks, markers), the policy, and the cut with
// its evidence. A cut is a position for every shard that together are a
// state that never loses a cause, although nobody stopped for it.
//
// internal/proof/search finds cuts; internal/proof/prove checks the evidence of one
// and shares no code with the search but these values, which have no behaviour.
// Both are pure: no I/O, no clock. Neither decides which grade is good enough.
//
// # The theorem
//
// For each shard, let c1, c2, ... be the commits (COMMIT and COMMIT PREPARED) in the
// order of its log. Every commit is first stamped by its server's clock, then
// placed in the log, then visible, then acknowledged. internal/proof/clock gives
// for every stamp the range of the observer's instants in which it was taken.
// An instant t is quiet for the shard at k if
//
//	(1) the ranges of c1 ... ck end before t,
//	(2) for all of them, and not for ck alone: stamps are not in the order of the log,
//	(3) the range of c(k+1) begins after t; or, if there is no c(k+1),
//	(4) the log was observed to end there at an instant after t,
//	(5) what lies before the stretch of log in question had been flushed at an
//	    instant before t, so that it was stamped before t.
//
// The position is the start of the record of c(k+1), or the observed end.
// Recovery that stops there has the effects of exactly those commits that lie before it.
//
// If t is quiet for all shards, the positions are causally closed: nothing in the cut
// depends on anything that is not. Let T2 be in the cut and T1 not. T1 lies at or
// behind c(k+1) of its shard. Places are given one after the other, so T1 got
// its place when c(k+1) had its own, or later; that is after c(k+1) was stamped,
// after t (or after the log was observed to end, after t). Nobody could see
// T1 before it had a place. T2 was stamped before t, and all that T2 read or was
// told came before its stamp. So T2 knows nothing of T1. This holds whatever
// clients, tables, databases, locks or poolers did; aborted and open
// transactions have no effects.
//
// # Global transactions
//
// A closed cut can still have one half of a transaction that is made of several.
//
//	(6) Tags: of every tagged global transaction all parts that the look has, and
//	    as many as its tags tell of, are in the cut, or none; but for those
//	    that have been half done for longer than the limit, which are reported as broken.
//	(7) Tags and gids are known since more than the limit before t. So whatever
//	    is half done at t and not broken has its first part in view. (From when on they
//	    are may be later than (5): of a transaction that was prepared long ago nobody knows
//	    what it belongs to. That keeps no cut from being closed.)
//	(8) Two phases: where one part is committed in the cut, all parts are at least
//	    prepared in it. (A coordinator prepares all before it commits any, and the cut is
//	    closed, so that this follows; it is checked against those that do not.)
//	    Recovery then commits those that are in doubt. So it is whole.
//	(9) Where no part is committed in the cut, recovery rolls back those in doubt, if the logs
//	    of all shards are known since before they were prepared, and no commit
//	    whose gid is not known came later. Otherwise it leaves them as they
//	    are, and t has to be later than the limit.
//
// The PREPARE of a part was acknowledged, and so had its place, before the coordinator
// committed another; so it lies before its shard's position, since that is the
// start of c(k+1) and not the end of ck: a PREPARE may lie between the two.
//
// # The list of those that are broken
//
// A look knows tags since its KnownFrom, k. What is half done at t for longer than the limit is
// listed, but for one whose rest may have been done before k and whose first part lies so near to k that
// it may be whole. The list is complete for all whose first part in the cut was committed after k and
// after that of the last one that was left out.
//
// A later look forgets what is older than its own k. So it goes on from a base: an earlier cut with
// nothing half done but what it lists, and the records of that. The base lies behind the
// place of k on every shard, so that all that was placed behind the base is in the look with its tags. Let G be
// broken at t. If a part of G lies before the base, G was half done there, hence listed there, and its records
// are kept. If none does, all are in the look. So the list is complete for as long
// as that of the base is. What has a part before the base and is not on its list was whole there.
// The kept records are older than k, hence half done for longer than the limit (7); their stamps are not asked.
//
// # Redis
//
// A Redis stream has no clock. A marker was executed in [m0, m1].
//
//	(10) A master without a pause: m0 and m1 lie strictly within the gap that is
//	     quiet for all shards. What is behind the marker was executed after m0, when all
//	     SQL in the cut was stamped; what is before it, before m1, when nothing of the SQL
//	     that is not in the cut had a place. Neither side can depend on the other's rest.
//	     A master under CLIENT PAUSE ... WRITE stands still: t has to be in the pause.
//	(11) Several masters: all but one were paused, and the pauses have one instant in common
//	     at which t is; the one that was not paused has its whole marker in them.
//
// # Holds
//
//	(12) A grade that rests on a gate or on locks wants t strictly within a time
//	     in which they were surely held. Writers of global transactions that respect
//	     the gate are not inside one then.
//
// # What is assumed
//
//   - A server stamps a commit after the last statement of the transaction, and before its
//     record has a place in the log; records get their places one after the other; nothing of a
//     transaction is visible before its commit has one. (PostgreSQL: a read of the
//     clock in RecordTransactionCommit, before XLogInsert. Sequences are the
//     exception: nextval is visible at once and not rolled back.)
//   - The clocks keep to what internal/proof/clock says of them.
//   - The log that is handed in is the log that recovery will replay, whole in
//     [From, To). Commits that a failover lost, or a crash under asynchronous
//     commit, are in no cut; what depends on them may be. A stretch is of one timeline, and the end of a timeline is no observed end.
//   - Reached rests on what was flushed or received, and not on a position that
//     was only inserted: after a crash other bytes may lie there.
//   - KnownFrom holds for whole transactions: a message can lie long before its commit.
//   - Ids of global transactions, and gids, are not used again while they matter. (A
//     gid that is, is noticed, and what is in doubt under it is left.) The last
//     part of "<id>/." is committed after the others were acknowledged. A coordinator of
//     two phases prepares all parts before it commits any.
//   - Whatever the platform declares (tags, two phases, a gate) it does in every
//     one of its global transactions.
//   - Age is counted from the stamp of the first part, not from when it was seen.
package proof
