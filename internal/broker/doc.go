// Package broker owns who is who for many masters: accounts and how they log
// in, devices and their sessions, agents and their enrolment, grants and their
// revocation, and the tokens that are issued on the strength of all that. It
// owns the State contract, which is all that its replicas share.
//
// It must not depend on envelope, vault or signer: it cannot decrypt anything,
// and derives no wallet of its own.
//
// Laws:
//   - What is good once (a link, a code, a nonce, a proof) is consumed by a
//     change of State that rests on its being there: of any number of racing
//     uses, on any number of replicas, one wins.
//   - Secrets that are handed out are kept as digests.
//   - Every change is recorded twice in the audit log, as allowed before it is
//     made and as done or failed after, and every token once, before it is
//     released. What cannot be recorded is not made or released, but for a
//     revocation, which is made all the same.
//   - A revocation that was acknowledged is known to each replica, before it
//     lets go of a token or a beat, within 300 ms; one that cannot know does
//     neither. One that failed is in force on the replica that was asked, for
//     as long as it lives, and its error says to repeat it.
//   - Who may do what is a type: Master is made by Caller.Master alone, and
//     whatever grants, enrols, lists or acts for others takes a Master.
package broker
