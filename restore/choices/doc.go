// Package choices holds both ways of a failover against each other, newest and proven: what each
// would lose now, how long it would take, and which one is the default and why.
//
// It promises that
//   - what is not known is called unknown, with the reason, and never nought;
//   - a server or a vault that is silent is waited for no longer than its limit, and all of it
//     no longer than the limit of the whole: nobody who has to decide is kept waiting;
//   - it fails with nothing: what goes wrong is a reason of something unknown.
//
// It uses what a failover itself uses: the place of a standby, the vault's way beyond it, the
// statement of loss, the newest moment, the forecast of a plan. It reads, and changes nothing.
package choices
