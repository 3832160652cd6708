// Package approval is what people sign: that a plan may run, or that something
// is so, with their own SSH keys.
//
// It promises that an approval names what was shown: the plan, the state that it
// was made for and the words. Any change of them voids it, and so does time; that
// n approvals are of n different people, however many keys each of them has; and
// that what `ssh-keygen -Y sign` makes is accepted. Everything in it is pure.
//
// It keeps no private keys, takes nobody's word for who somebody is (who may
// approve is said by the caller), and accepts Ed25519 keys only, in a file or in hardware.
package approval
