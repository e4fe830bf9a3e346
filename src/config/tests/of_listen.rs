//! Section `listen`.

use super::*;

#[test]
fn listeners_may_have_names() {
    let text = format!("listen: {{ otlp: ['localhost:443', 'six.example:1'], admin: 'localhost:2' }}\n{FILES}{SINK}");
    let listen = load_text(&text).unwrap().config.listen;
    let all = listen.otlp.iter().chain([&listen.admin]).map(ToString::to_string).collect::<Vec<_>>();
    assert_eq!(all, ["127.0.0.1:443", "[::1]:1", "127.0.0.1:2"]);
    only("listen: { otlp: 'gone.example:4317' }\n", "1 listen.otlp:", "name without an address");
    for wrong in ["localhost", "localhost:", "localhost:70000", ":4317", "1.2.3:4317", "http://localhost:4317", "a b:1"]
    {
        only(&format!("listen: {{ otlp: '{wrong}' }}\n"), "1 listen.otlp:", "localhost:4317");
    }
}
