//! Every bound of the network layer, with its reason. The relations between them are asserted when it compiles.

use std::time::Duration;

use protocol::limits;

const KIB: usize = 1024;
const MIB: usize = 1024 * KIB;

// Queues. A full queue refuses with a reason and counts; nothing grows without bound.

/// Events waiting for the driver.
pub const EVENT_QUEUE: usize = 4096;
/// Places of the event queue that ordinary gossip may not take, so that a flood of receipts never starves votes.
pub const EVENT_RESERVE_CONSENSUS: usize = 1024;
/// Places of the event queue that no gossip and no request may take: they tell the driver who came and went.
pub const EVENT_RESERVE_PEERS: usize = 256;
/// Publications, verdicts and requests waiting for the swarm.
pub const COMMAND_QUEUE: usize = 4096;
/// Bytes of gossip handed to the driver whose verdict is still awaited.
pub const GOSSIP_UNJUDGED_BYTES: usize = 64 * MIB;
/// The part of [`GOSSIP_UNJUDGED_BYTES`] that only consensus messages may take.
pub const GOSSIP_UNJUDGED_RESERVE: usize = 8 * MIB;

// Gossip.

/// Bytes before a gossiped payload: the salt that lets the same payload be sent again.
pub const GOSSIP_SALT_BYTES: usize = 8;
/// One manifest, or several small ones together.
pub const MANIFEST_BYTES: usize = 272 * KIB;
/// Operations of one message.
pub const OPERATION_BYTES: usize = 272 * KIB;
/// One vote, proposal or certificate of the agreement; blocks travel by request.
pub const CONSENSUS_BYTES: usize = 64 * KIB;
/// Receipts of one message.
pub const RECEIPT_BYTES: usize = 272 * KIB;
/// Commitments and reveals of attributions in one message.
pub const ATTRIBUTION_BYTES: usize = 64 * KIB;
/// What gossipsub's own envelope (topic name and field tags) may add to a payload.
pub const GOSSIP_ENVELOPE_BYTES: usize = 512;
/// gossipsub measures its whole read buffer against this, so a frame and the start of the next must fit together.
pub const GOSSIP_RPC_BYTES: usize = MIB;
/// How often the mesh is kept in order: small networks want a quick one.
pub const GOSSIP_HEARTBEAT: Duration = Duration::from_millis(700);
/// The first heartbeat comes at once, so that a restarted validator is in the mesh at once.
pub const GOSSIP_FIRST_HEARTBEAT: Duration = Duration::from_millis(100);
/// Heartbeats for which a message is kept: a verdict later than this (8.4 s) forwards nothing.
pub const GOSSIP_HISTORY: usize = 12;
/// Heartbeats for which a message is advertised to peers outside the mesh.
pub const GOSSIP_ADVERTISED: usize = 4;
/// Mesh degree: wanted, lowest, highest, and of these at least so many that we dialled.
pub const MESH_WANTED: usize = 8;
/// See [`MESH_WANTED`].
pub const MESH_LOW: usize = 5;
/// See [`MESH_WANTED`].
pub const MESH_HIGH: usize = 12;
/// See [`MESH_WANTED`].
pub const MESH_OUTBOUND: usize = 3;
/// How long a message id is remembered; longer than any message circulates.
pub const GOSSIP_SEEN: Duration = Duration::from_secs(300);
/// Message ids in one IHAVE. A default of 5000 would exceed what the receiver accepts and cost us the stream.
pub const GOSSIP_IDS_PER_CONTROL: usize = 500;
/// Bytes of control messages accepted in one gossip frame.
pub const GOSSIP_CONTROL_BYTES: usize = 16 * KIB;
/// Messages accepted in one gossip frame.
pub const GOSSIP_MESSAGES_PER_RPC: usize = 500;
/// Gossip messages queued for one peer.
pub const GOSSIP_PEER_QUEUE: usize = 2048;
/// A publication that waited longer than this for one peer is dropped for it, and counted.
pub const GOSSIP_PUBLISH_EXPIRY: Duration = Duration::from_secs(5);
/// A forwarded message that waited longer than this for one peer is dropped for it, and counted.
pub const GOSSIP_FORWARD_EXPIRY: Duration = Duration::from_secs(2);
/// Messages larger than this are worth telling peers that we have them already.
pub const GOSSIP_IDONTWANT_BYTES: usize = KIB;
/// The same payload goes out again no sooner than this.
pub const REPUBLISH_AFTER: Duration = Duration::from_millis(500);
/// Own publications remembered, so that a repeated one is sent under a new salt.
pub const REPUBLISH_MEMORY: usize = 8192;
/// Length of a gossip message id.
pub const MESSAGE_ID_BYTES: usize = 20;

// Agreement by streams of its own.

/// Peers up to which messages of agreement go straight to each; with more, gossip alone carries them.
pub const DIRECT_PEERS: usize = 50;
/// Messages that wait for one slow peer; of more, the oldest is dropped.
pub const DIRECT_QUEUE: usize = 128;
/// Messages between the streams and the network's task.
pub const DIRECT_EVENTS: usize = 4096;
/// Memory taken ahead of the bytes of a message, whatever length it announces.
pub const DIRECT_AHEAD_BYTES: usize = KIB;

// Scores (gossipsub v1.1). Delivery rates (P3) are off: our topics are quiet, and silence is no fault.

/// Below this a peer gets no advertisements from us.
pub const SCORE_GOSSIP: f64 = -500.0;
/// Below this we send a peer no publications.
pub const SCORE_PUBLISH: f64 = -1000.0;
/// Below this nothing of a peer is read, and the peer is banned.
pub const SCORE_GRAYLIST: f64 = -2500.0;
/// Weight of each topic in a peer's score.
pub const SCORE_TOPIC_WEIGHT: f64 = 0.1;
/// Weight of the square of invalid messages: three stop gossip, six ban.
pub const SCORE_INVALID_WEIGHT: f64 = -1000.0;
/// How long faults weigh.
pub const SCORE_DECAY: Duration = Duration::from_secs(3600);
/// How long the score of a peer that left is kept.
pub const SCORE_RETAINED: Duration = Duration::from_secs(6 * 3600);
/// Peers behind one address before each counts against the others; loopback is exempt. An office or a data centre may have as
/// many.
pub const SCORE_COLOCATED: f64 = 16.0;
/// Weight of the square of the excess over [`SCORE_COLOCATED`]. Gentle: 39 within [`SCORE_RETAINED`] are not gossiped with, and it
/// takes 67 until all of them are banned, whatever each of them did.
pub const SCORE_COLOCATED_WEIGHT: f64 = -1.0;
/// Breaches of gossipsub's manners (early regrafts, broken promises) that are forgiven.
pub const SCORE_MANNERS_FORGIVEN: f64 = 6.0;
/// Weight of the square of the excess over [`SCORE_MANNERS_FORGIVEN`].
pub const SCORE_MANNERS_WEIGHT: f64 = -10.0;

// Connections.

/// Established connections in all. Configured peers are neither counted nor refused.
pub const CONNECTIONS: u32 = 128;
/// Established connections that others opened: the rest stays for those we choose.
pub const CONNECTIONS_INBOUND: u32 = 96;
/// Established connections that we opened.
pub const CONNECTIONS_OUTBOUND: u32 = 64;
/// Handshakes in progress, each way.
pub const CONNECTIONS_PENDING: u32 = 32;
/// Connections with one peer: both may dial at once, over two transports.
pub const CONNECTIONS_PER_PEER: u32 = 4;
/// Streams open on one connection, both ways together.
pub const STREAMS_PER_CONNECTION: usize = 256;
/// Streams of one request protocol open on one connection, both ways together.
pub const STREAMS_PER_PROTOCOL: usize = 128;
/// Unread bytes held for one QUIC connection.
pub const QUIC_CONNECTION_BYTES: u32 = 8 * 1024 * 1024;
/// Unread bytes held for one QUIC stream.
pub const QUIC_STREAM_BYTES: u32 = 6 * 1024 * 1024;
/// Silence after which a QUIC connection is dead: a killed peer says no goodbye over UDP.
pub const QUIC_SILENCE: Duration = Duration::from_secs(5);
/// How often a quiet QUIC connection is kept alive.
pub const QUIC_KEEP_ALIVE: Duration = Duration::from_millis(1500);
/// A connection that nothing uses is closed after this.
pub const CONNECTION_IDLE: Duration = Duration::from_secs(120);
/// A peer that has not said within this that it is of our network and listens to our topics is dropped.
pub const HANDSHAKE: Duration = Duration::from_secs(6);
/// Two connections no further apart than this were dialled at the same moment from both ends.
/// A later second connection means that the peer lost the first one without our noticing.
pub const SIMULTANEOUS_DIAL: Duration = Duration::from_secs(3);
/// How often a connection is tried.
pub const PING_INTERVAL: Duration = Duration::from_secs(5);
/// How long a try may take.
pub const PING_TIMEOUT: Duration = Duration::from_secs(10);
/// Failed tries in a row after which the peer is taken for gone.
pub const PING_FAILURES: u32 = 2;
/// Wait before a lost configured peer is dialled again, doubled with each failure.
pub const REDIAL_FIRST: Duration = Duration::from_millis(250);
/// The longest such wait.
pub const REDIAL_LAST: Duration = Duration::from_secs(15);
/// Configured peers.
pub const CONFIGURED_PEERS: usize = 256;
/// How often configured peers are looked after, and requests that wait for their turn.
pub const DIAL_TICK: Duration = Duration::from_millis(100);
/// How often bans, scores, handshakes and lost requests are looked after.
pub const CARE_TICK: Duration = Duration::from_secs(1);
/// How long a measurement of this process's memory is good for.
pub const MEMORY_MEASURE: Duration = Duration::from_secs(1);
/// What a stopping node still gives its last messages to leave.
pub const LINGER: Duration = Duration::from_millis(100);
/// What a stopping node gives its connections to close.
pub const CLOSING: Duration = Duration::from_secs(1);
/// Bytes of a network's name.
pub const NETWORK_NAME_BYTES: usize = 64;

// Requests.

/// A request for blocks names them, or marks the parts of one.
pub const BLOCK_REQUEST_BYTES: usize = 2 * KIB;
/// Blocks answered at once: one of the largest, or many small ones.
pub const BLOCK_RESPONSE_BYTES: usize = 5 * MIB;
/// A request for objects lists their ids, or compares pools.
pub const OBJECT_REQUEST_BYTES: usize = 64 * KIB;
/// Objects answered at once.
pub const OBJECT_RESPONSE_BYTES: usize = 3 * MIB;
/// A request for a slice of a blob names it.
pub const BLOB_REQUEST_BYTES: usize = KIB;
/// One slice of a blob with its proof, and what the wire format adds.
pub const BLOB_RESPONSE_BYTES: usize = 2 * MIB + 4 * KIB;
/// What a peer tells of itself when it asks for our status.
pub const STATUS_REQUEST_BYTES: usize = 16 * KIB;
/// What we tell of ourselves.
pub const STATUS_RESPONSE_BYTES: usize = 16 * KIB;
/// Memory taken ahead of the bytes of a frame, whatever length it announces.
pub const FRAME_AHEAD_BYTES: usize = 64 * KIB;
/// Requests of ours that wait for an answer or for their turn.
pub const REQUESTS_OUT: usize = 1024;
/// libp2p gives a request up this much after we did, so that our own deadline is the one that counts.
pub const REQUEST_GRACE: Duration = Duration::from_secs(5);
/// One peer may hold this part of a protocol's places for unanswered requests.
pub const REQUESTS_IN_PART: usize = 4;
/// Of that we use half, because the peer learns later than we do that an answer has arrived. The rest wait their turn.
pub const REQUESTS_OUT_PART: usize = 2 * REQUESTS_IN_PART;
/// Wait before a peer that has too much to do is asked again, doubled with each refusal.
pub const BUSY_FIRST: Duration = Duration::from_millis(100);
/// The longest such wait.
pub const BUSY_LAST: Duration = Duration::from_secs(2);
/// Refusals after which a peer that has too much to do counts as one that does not answer (after about 7 s).
pub const BUSY_TRIES: u32 = 8;

// Standing.

/// What exceeds a rate is refused; only what exceeds it so many times is a strike.
pub const FLOOD: u32 = 4;
/// Strikes at which a peer is banned.
pub const STRIKES_BAN: u32 = 100;
/// Strikes halve in this time.
pub const STRIKES_HALVE: Duration = Duration::from_secs(600);
/// How long a ban lasts.
pub const BAN: Duration = Duration::from_secs(600);
/// Bans remembered; the one that ends first makes room.
pub const BANS: usize = 1024;
/// Peers whose strikes or request rates, in and out, are remembered; the least guilty makes room.
pub const STANDINGS: usize = 1024;

const _: () = assert!(EVENT_RESERVE_PEERS < EVENT_RESERVE_CONSENSUS && EVENT_RESERVE_CONSENSUS < EVENT_QUEUE);
const _: () = assert!(GOSSIP_UNJUDGED_RESERVE < GOSSIP_UNJUDGED_BYTES);
const _: () = assert!(
    2 * (MANIFEST_BYTES + GOSSIP_SALT_BYTES + GOSSIP_ENVELOPE_BYTES) < GOSSIP_RPC_BYTES,
    "the largest gossip frame and the start of another fit in the read buffer's limit"
);
const _: () = assert!(MANIFEST_BYTES >= OPERATION_BYTES && MANIFEST_BYTES >= RECEIPT_BYTES);
const _: () = assert!(MANIFEST_BYTES >= CONSENSUS_BYTES && MANIFEST_BYTES >= ATTRIBUTION_BYTES);
const _: () = assert!(
    GOSSIP_IDS_PER_CONTROL * (MESSAGE_ID_BYTES + 2) + GOSSIP_ENVELOPE_BYTES < GOSSIP_CONTROL_BYTES,
    "the longest IHAVE we send is one that peers accept"
);
const _: () = assert!(GOSSIP_ADVERTISED <= GOSSIP_HISTORY);
const _: () = assert!(MESH_OUTBOUND <= MESH_LOW && MESH_LOW <= MESH_WANTED && MESH_WANTED <= MESH_HIGH);
const _: () = assert!(2 * MESH_OUTBOUND <= MESH_WANTED);
const _: () = assert!(SCORE_GRAYLIST < SCORE_PUBLISH && SCORE_PUBLISH < SCORE_GOSSIP && SCORE_GOSSIP < 0.0);
const _: () = assert!(CONNECTIONS_INBOUND < CONNECTIONS && CONNECTIONS_OUTBOUND < CONNECTIONS);
const _: () = assert!(BLOCK_RESPONSE_BYTES >= BLOB_RESPONSE_BYTES && BLOCK_RESPONSE_BYTES >= OBJECT_RESPONSE_BYTES);
const _: () = assert!(BLOCK_RESPONSE_BYTES < QUIC_STREAM_BYTES as usize, "the largest answer fits one window");
const _: () = assert!(QUIC_STREAM_BYTES < QUIC_CONNECTION_BYTES);

// The layer knows nothing of what it carries, but that the largest of each kind must fit.
const _: () = assert!(OPERATION_BYTES >= limits::MAX_GOSSIP_BYTES && RECEIPT_BYTES >= limits::MAX_GOSSIP_BYTES);
const _: () = assert!(BLOCK_RESPONSE_BYTES >= limits::MAX_SYNC_BYTES + KIB);
const _: () = assert!(BLOB_RESPONSE_BYTES >= limits::MAX_BLOB_BYTES + KIB);
const _: () = assert!(ATTRIBUTION_BYTES >= limits::MAX_GOSSIP_BATCH_BYTES);
const _: () =
    assert!(BLOCK_REQUEST_BYTES >= limits::MAX_BLOCK_ENVELOPES / 8 + limits::MAX_BLOCK_SETTLEMENTS / 8 + KIB / 2);
const _: () = assert!(OBJECT_REQUEST_BYTES >= limits::MAX_REQUEST_BYTES);
const _: () = assert!(OBJECT_RESPONSE_BYTES >= limits::MAX_SYNC_BYTES / 2 + limits::MAX_ASKED_OBJECTS * 16 + KIB);
