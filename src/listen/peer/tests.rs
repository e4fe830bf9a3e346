//! What a connection knows of its answers, and how much of it is read.

use super::*;

const IP: IpAddr = IpAddr::V4(std::net::Ipv4Addr::LOCALHOST);

#[test]
fn an_answer_arrived_when_written_and_still_connected() {
    let peer = Peer::unconnected(IP);
    let answer = peer.answer();
    assert!(!answer.arrived());
    peer.answer_written();
    assert!(answer.arrived());
    peer.connection.closed();
    assert!(!answer.arrived());
}

#[test]
fn an_answer_arrived_when_its_client_closed_in_order_with_all_of_it_acknowledged() {
    let peer = Peer::unconnected(IP);
    let (connection, answer) = (&peer.connection, peer.answer());
    connection.bytes_went(100);
    peer.answer_ends();
    peer.answer_written();
    // The client had everything that was written, and the answer's last bytes were not.
    connection.acknowledged();
    connection.closed();
    assert!(!answer.arrived() && answer.is_broken());

    let peer = Peer::unconnected(IP);
    let (connection, answer) = (&peer.connection, peer.answer());
    let unanswered = Peer::new(connection).answer();
    peer.answer_ends();
    connection.bytes_went(100);
    peer.answer_written();
    connection.acknowledged();
    connection.closed();
    assert!(answer.arrived() && !answer.is_broken());
    assert!(!unanswered.arrived() && unanswered.is_broken(), "another request's answer was not written");
}

#[test]
fn without_a_key_little_is_read_until_an_answer_or_a_key() {
    let peer = Peer::unconnected(IP);
    let connection = &peer.connection;
    let may_read = || connection.may_read(Waker::noop());
    connection.bytes_came(&[0; BYTES_WITHOUT_KEY - 1]);
    assert!(may_read());
    connection.bytes_came(&[0]);
    assert!(!may_read());
    connection.activity.request_begins(http::Version::HTTP_2);
    connection.request_ends();
    assert!(may_read());
    connection.bytes_came(&[0; BYTES_WITHOUT_KEY]);
    assert!(!may_read());
    peer.mark_authenticated(&registry::tests::key(1));
    assert!(may_read());
}
