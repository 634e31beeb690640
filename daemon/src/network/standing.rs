//! How peers stand with us: strikes that decay, bans that end, and how often each may ask.
//!
//! Faults are counted by peer, never by address: a devnet's peers all live behind one. (Gossip's own score counts addresses,
//! gently.) A configured peer is banned like any other, because it is the behaviour that is wrong, whoever shows it.

use std::{
    collections::BTreeMap,
    time::{Duration, Instant},
};

use libp2p::PeerId;

use super::{
    constants::*,
    handle::Fault,
    names::{DIRECT_RATE, Protocol, Rate},
};

/// What a peer can do wrong, as far as this layer sees it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Misdeed {
    /// The driver rejected gossip that the peer sent or forwarded.
    RejectedGossip,
    /// Gossip without a frame, or beyond its topic's size.
    MalformedGossip,
    /// A request or a response that breaks the frame format.
    MalformedFrame,
    /// A direct message that breaks the frame format.
    MalformedMessage,
    /// An answer or a message whose content does not hold.
    Content(Fault),
    /// It goes on asking, or telling, far more often than it is listened to.
    RateLimited,
    /// It belongs to another network or another genesis.
    OtherNetwork,
    /// It did not become a peer in time.
    NoHandshake,
    /// Its gossip score fell below what is read at all.
    Graylisted,
}

impl Misdeed {
    /// The word for logs and metrics.
    pub(super) const fn as_str(self) -> &'static str {
        match self {
            Misdeed::RejectedGossip => "rejected_gossip",
            Misdeed::MalformedGossip => "malformed_gossip",
            Misdeed::MalformedFrame => "malformed_frame",
            Misdeed::Content(Fault::BadSync) => "bad_sync",
            Misdeed::Content(Fault::BadObjects) => "bad_objects",
            Misdeed::Content(Fault::BadMessage) => "bad_message",
            Misdeed::MalformedMessage => "malformed_message",
            Misdeed::RateLimited => "rate_limited",
            Misdeed::OtherNetwork => "other_network",
            Misdeed::NoHandshake => "no_handshake",
            Misdeed::Graylisted => "graylisted",
        }
    }

    const fn strikes(self) -> u32 {
        match self {
            Misdeed::RateLimited => 1,
            Misdeed::NoHandshake => 5,
            Misdeed::OtherNetwork => 10,
            Misdeed::RejectedGossip => 20,
            Misdeed::MalformedGossip | Misdeed::MalformedFrame | Misdeed::MalformedMessage => 25,
            Misdeed::Content(Fault::BadMessage) => 20,
            // Made with effort, and it costs much to find out.
            Misdeed::Content(Fault::BadSync | Fault::BadObjects) => 34,
            Misdeed::Graylisted => STRIKES_BAN,
        }
    }
}

/// What is remembered of all peers, the gone ones too: who reconnects is still the same.
#[derive(Debug, Default)]
pub(super) struct Standings {
    strikes: BTreeMap<PeerId, Strikes>,
    bans: BTreeMap<PeerId, Instant>,
    buckets: BTreeMap<(PeerId, Protocol), Allowance>,
    /// Of messages that come straight.
    messages: BTreeMap<PeerId, Allowance>,
}

/// What becomes of something that a peer sends, by how often it does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Admission {
    /// It is taken.
    Taken,
    /// It is refused.
    TooOften,
    /// It is refused, and so far beyond the rate that it is a misdeed.
    Flood,
}

#[derive(Debug, Clone, Copy)]
struct Strikes {
    count: u32,
    halved: Instant,
}

impl Strikes {
    fn decayed(mut self, now: Instant) -> Strikes {
        while self.count > 0 && now.saturating_duration_since(self.halved) >= STRIKES_HALVE {
            self.count /= 2;
            self.halved += STRIKES_HALVE;
        }
        self
    }
}

impl Standings {
    /// Counts a misdeed; true if the peer is banned for it now.
    pub(super) fn strike(&mut self, peer: PeerId, misdeed: Misdeed, now: Instant) -> bool {
        // What was on its way when the peer was banned is no reason to ban it again.
        if self.bans.get(&peer).is_some_and(|until| *until > now) {
            return false;
        }
        if self.strikes.len() >= STANDINGS && !self.strikes.contains_key(&peer) {
            self.forget_least_guilty(now);
        }
        let strikes = self.strikes.entry(peer).or_insert(Strikes { count: 0, halved: now });
        *strikes = strikes.decayed(now);
        strikes.count = strikes.count.saturating_add(misdeed.strikes());
        if strikes.count < STRIKES_BAN {
            return false;
        }
        self.strikes.remove(&peer);
        self.bans.insert(peer, now + BAN);
        true
    }

    pub(super) fn strikes(&self, peer: &PeerId, now: Instant) -> u32 {
        self.strikes.get(peer).map_or(0, |strikes| strikes.decayed(now).count)
    }

    /// Whether a peer may ask once more; counts the question.
    pub(super) fn ask(&mut self, peer: PeerId, protocol: Protocol, now: Instant) -> Admission {
        let rate = protocol.rate();
        self.buckets.entry((peer, protocol)).or_insert_with(|| Allowance::full(rate, now)).take(rate, now)
    }

    /// Whether a peer may send one more message straight to us; counts it.
    pub(super) fn tell(&mut self, peer: PeerId, now: Instant) -> Admission {
        self.messages.entry(peer).or_insert_with(|| Allowance::full(DIRECT_RATE, now)).take(DIRECT_RATE, now)
    }

    /// Ends what has passed; returns the peers whose ban is over or had to make room.
    pub(super) fn expire(&mut self, now: Instant) -> Vec<PeerId> {
        self.strikes.retain(|_, strikes| strikes.decayed(now).count > 0);
        self.buckets.retain(|(_, protocol), bucket| !bucket.is_full(protocol.rate(), now));
        while self.buckets.len() > STANDINGS {
            self.buckets.pop_first();
        }
        self.messages.retain(|_, bucket| !bucket.is_full(DIRECT_RATE, now));
        while self.messages.len() > STANDINGS {
            self.messages.pop_first();
        }
        let mut over: Vec<PeerId> =
            self.bans.iter().filter(|(_, until)| **until <= now).map(|(peer, _)| *peer).collect();
        let mut rest: Vec<(Instant, PeerId)> =
            self.bans.iter().filter(|(_, until)| **until > now).map(|(peer, until)| (*until, *peer)).collect();
        rest.sort();
        over.extend(rest.iter().take(rest.len().saturating_sub(BANS)).map(|(_, peer)| *peer));
        for peer in &over {
            self.bans.remove(peer);
        }
        over
    }

    fn forget_least_guilty(&mut self, now: Instant) {
        let least = self.strikes.iter().min_by_key(|(_, strikes)| strikes.decayed(now).count).map(|(peer, _)| *peer);
        if let Some(peer) = least {
            self.strikes.remove(&peer);
        }
    }
}

/// What a peer may send, and beside it how much more is forgiven.
#[derive(Debug)]
struct Allowance {
    taken: TokenBucket,
    sent: TokenBucket,
}

impl Allowance {
    fn full(rate: Rate, now: Instant) -> Self {
        Allowance { taken: TokenBucket::full(rate, now), sent: TokenBucket::full(rate.flood(), now) }
    }

    fn take(&mut self, rate: Rate, now: Instant) -> Admission {
        let forgiven = self.sent.take(rate.flood(), now);
        match self.taken.take(rate, now) {
            true => Admission::Taken,
            false if forgiven => Admission::TooOften,
            false => Admission::Flood,
        }
    }

    fn is_full(&mut self, rate: Rate, now: Instant) -> bool {
        self.taken.is_full(rate, now) && self.sent.is_full(rate.flood(), now)
    }
}

/// Tokens in thousandths, so that slow refills are not lost to rounding.
#[derive(Debug)]
pub(super) struct TokenBucket {
    milli_tokens: u64,
    refilled: Instant,
}

impl TokenBucket {
    pub(super) fn full(rate: Rate, now: Instant) -> Self {
        TokenBucket { milli_tokens: capacity(rate), refilled: now }
    }

    pub(super) fn take(&mut self, rate: Rate, now: Instant) -> bool {
        self.refill(rate, now);
        let enough = self.milli_tokens >= 1000;
        if enough {
            self.milli_tokens -= 1000;
        }
        enough
    }

    pub(super) fn is_full(&mut self, rate: Rate, now: Instant) -> bool {
        self.refill(rate, now);
        self.milli_tokens >= capacity(rate)
    }

    fn refill(&mut self, rate: Rate, now: Instant) {
        let elapsed = now.saturating_duration_since(self.refilled).as_millis();
        let elapsed_ms = u64::try_from(elapsed).unwrap_or(u64::MAX);
        let gained = elapsed_ms.saturating_mul(u64::from(rate.per_second));
        self.milli_tokens = self.milli_tokens.saturating_add(gained).min(capacity(rate));
        // Whole milliseconds only: what is left of the last one counts next time.
        self.refilled = self.refilled.checked_add(Duration::from_millis(elapsed_ms)).unwrap_or(now);
    }
}

fn capacity(rate: Rate) -> u64 {
    u64::from(rate.burst) * 1000
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn five_rejections_ban_and_the_ban_ends() {
        let (mut standings, peer, start) = (Standings::default(), PeerId::random(), Instant::now());
        for _ in 0..4 {
            assert!(!standings.strike(peer, Misdeed::RejectedGossip, start));
        }
        assert_eq!(standings.strikes(&peer, start), 80);
        assert!(standings.strike(peer, Misdeed::RejectedGossip, start));
        for _ in 0..5 {
            assert!(!standings.strike(peer, Misdeed::RejectedGossip, start), "it is banned already");
        }
        assert!(standings.expire(start + BAN - Duration::from_millis(1)).is_empty());
        assert_eq!(standings.expire(start + BAN), [peer]);
        assert_eq!(standings.strikes(&peer, start + BAN), 0, "who served a ban starts anew");
    }

    #[test]
    fn three_answers_that_do_not_hold_ban() {
        let (mut standings, peer, start) = (Standings::default(), PeerId::random(), Instant::now());
        assert!(!standings.strike(peer, Misdeed::Content(Fault::BadSync), start));
        assert!(!standings.strike(peer, Misdeed::Content(Fault::BadObjects), start));
        assert!(standings.strike(peer, Misdeed::Content(Fault::BadSync), start));
    }

    #[test]
    fn strikes_decay() {
        let (mut standings, peer, start) = (Standings::default(), PeerId::random(), Instant::now());
        for _ in 0..4 {
            standings.strike(peer, Misdeed::RejectedGossip, start);
        }
        assert_eq!(standings.strikes(&peer, start + STRIKES_HALVE), 40);
        assert!(!standings.strike(peer, Misdeed::RejectedGossip, start + STRIKES_HALVE));
        assert_eq!(standings.strikes(&peer, start + STRIKES_HALVE), 60);
        standings.expire(start + 20 * STRIKES_HALVE);
        assert!(standings.strikes.is_empty(), "what has decayed is forgotten");
    }

    #[test]
    fn memory_of_peers_is_bounded_and_keeps_the_guiltiest() {
        let (mut standings, villain, start) = (Standings::default(), PeerId::random(), Instant::now());
        standings.strike(villain, Misdeed::RejectedGossip, start);
        for _ in 0..2 * STANDINGS {
            standings.strike(PeerId::random(), Misdeed::RateLimited, start);
        }
        assert_eq!(standings.strikes.len(), STANDINGS);
        assert_eq!(standings.strikes(&villain, start), 20);

        for _ in 0..BANS + 3 {
            standings.strike(PeerId::random(), Misdeed::Graylisted, start);
        }
        assert_eq!(standings.expire(start).len(), 3);
        assert_eq!(standings.bans.len(), BANS);
    }

    #[test]
    fn what_exceeds_a_rate_is_refused_and_only_what_far_exceeds_it_is_a_flood() {
        for protocol in Protocol::ALL {
            let (mut standings, peer, start) = (Standings::default(), PeerId::random(), Instant::now());
            let rate = protocol.rate();
            let mut count = |admission, now| {
                let mut n = 0;
                while n < 2 * FLOOD * rate.burst && standings.ask(peer, protocol, now) == admission {
                    n += 1;
                }
                n
            };
            assert_eq!(count(Admission::Taken, start), rate.burst);
            // The question that ended the first count was refused as well.
            assert_eq!(count(Admission::TooOften, start), (FLOOD - 1) * rate.burst - 1);
            assert_eq!(count(Admission::Flood, start), 2 * FLOOD * rate.burst, "for as long as it goes on");
            assert_eq!(
                count(Admission::Taken, start + Duration::from_secs(1)),
                rate.per_second,
                "answered none the less"
            );
        }
    }

    #[test]
    fn a_bucket_gives_its_burst_then_its_rate() {
        let (mut standings, peer, start) = (Standings::default(), PeerId::random(), Instant::now());
        let rate = Protocol::Status.rate();
        let mut given = 0;
        while standings.ask(peer, Protocol::Status, start) == Admission::Taken {
            given += 1;
        }
        assert_eq!(given, rate.burst);
        assert_eq!(standings.ask(peer, Protocol::Block, start), Admission::Taken, "protocols do not share a bucket");
        let other = PeerId::random();
        assert_eq!(standings.ask(other, Protocol::Status, start), Admission::Taken, "peers do not share a bucket");
        // Asking all the time must not lose the fractions of a refill.
        let given = (1..=2000).filter(|ms| {
            let then = start + Duration::from_micros(ms * 1000 + ms % 1000);
            standings.ask(peer, Protocol::Status, then) == Admission::Taken
        });
        assert_eq!(given.count(), 2 * rate.per_second as usize);
        assert!((0..DIRECT_RATE.burst).all(|_| standings.tell(peer, start) == Admission::Taken));
        assert_eq!(standings.tell(peer, start), Admission::TooOften);
        standings.expire(start + Duration::from_secs(3600));
        assert!(standings.buckets.is_empty() && standings.messages.is_empty(), "full buckets are forgotten");
    }
}
