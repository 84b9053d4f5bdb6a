//! Traces as a collector gets them: a real server process, and a listener that reads what OTLP over HTTP brings.

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::sync::mpsc;
use std::time::Duration;

use hallmark::adapters::system::SystemClock;
use hallmark::cli::line::{Device, DeviceKey, Instance, Station};
use hallmark::domain::ident::DeviceId;
use hallmark::ports::Clock as _;
use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use opentelemetry_proto::tonic::common::v1::any_value::Value;
use opentelemetry_proto::tonic::common::v1::{AnyValue, KeyValue};
use opentelemetry_proto::tonic::trace::v1::Span;
use opentelemetry_proto::tonic::trace::v1::span::SpanKind;
use prost::Message as _;

const TRACE: [u8; 16] = [
    0x4b, 0xf9, 0x2f, 0x35, 0x77, 0xb3, 0x4d, 0xa6, 0xa3, 0xce, 0x92, 0x9d, 0x0e, 0x0e, 0x47, 0x36,
];
const PARENT: &str = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";

/// Takes what is sent, until the test ends. Gives back its address and what it took.
fn collector() -> (String, mpsc::Receiver<ExportTraceServiceRequest>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = format!("http://{}", listener.local_addr().unwrap());
    let (sender, taken) = mpsc::channel();
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let sender = sender.clone();
            std::thread::spawn(move || while take(stream.as_ref().unwrap(), &sender).is_some() {});
        }
    });
    (address, taken)
}

/// One request.
fn take(stream: &TcpStream, sender: &mpsc::Sender<ExportTraceServiceRequest>) -> Option<()> {
    let mut reader = BufReader::new(stream);
    let mut first = String::new();
    reader.read_line(&mut first).ok().filter(|read| *read > 0)?;
    assert_eq!(first.trim(), "POST /v1/traces HTTP/1.1");
    let mut length = 0;
    loop {
        let mut line = String::new();
        reader.read_line(&mut line).ok()?;
        let line = line.trim().to_ascii_lowercase();
        if line.is_empty() {
            break;
        }
        if let Some(number) = line.strip_prefix("content-length:") {
            length = number.trim().parse().unwrap();
        }
    }
    let mut body = vec![0; length];
    reader.read_exact(&mut body).ok()?;
    sender
        .send(ExportTraceServiceRequest::decode(&*body).unwrap())
        .ok()?;
    let mut stream = stream;
    let answer = "HTTP/1.1 200 OK\r\ncontent-type: application/x-protobuf\r\ncontent-length: 0\r\n\r\n";
    stream.write_all(answer.as_bytes()).ok()
}

fn text<'v>(attributes: &'v [KeyValue], key: &str) -> Option<&'v str> {
    let found = attributes.iter().find(|attribute| attribute.key == key)?;
    match &found.value {
        Some(AnyValue {
            value: Some(Value::StringValue(text)),
        }) => Some(text),
        _other => None,
    }
}

fn number(span: &Span, key: &str) -> Option<i64> {
    let found = span.attributes.iter().find(|attribute| attribute.key == key)?;
    match &found.value {
        Some(AnyValue {
            value: Some(Value::IntValue(number)),
        }) => Some(*number),
        _other => None,
    }
}

fn get(url: &str, path: &str) {
    let address = url.strip_prefix("http://").unwrap();
    let mut stream = TcpStream::connect(address).unwrap();
    let request =
        format!("GET {path} HTTP/1.1\r\nhost: x\r\ntraceparent: {PARENT}\r\nconnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    assert!(answer.starts_with("HTTP/1.1 "), "{answer}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_collector_gets_requests_with_their_steps() {
    let (address, taken) = collector();
    let below = tempfile::tempdir().unwrap();
    Instance::new(env!("CARGO_BIN_EXE_hallmark"), below.path())
        .init("acme")
        .unwrap();
    let instance = |proxies: &str| {
        Instance::new(env!("CARGO_BIN_EXE_hallmark"), below.path())
            .with("OTEL_EXPORTER_OTLP_ENDPOINT", &address)
            .with("HALLMARK_TRUSTED_PROXIES", proxies)
    };
    let server = instance("127.0.0.1").serve().unwrap();
    let api_key = instance("127.0.0.1").create_model(&server, "pi-1").unwrap();
    let station = Station::new(&server.url, &api_key).unwrap();
    let device = Device {
        id: DeviceId {
            brand: "acme".parse().unwrap(),
            model: "pi-1".parse().unwrap(),
            serial: "A1".parse().unwrap(),
        },
        key: DeviceKey::generate_many(1).unwrap().remove(0),
    };
    station.register(&device, SystemClock.now()).await.unwrap();
    get(&server.url, "/v2/snaps/info/no-such-snap");
    server.stop().unwrap();
    // Nobody else's word counts for which trace a request belongs to.
    let server = instance("10.0.0.1").serve().unwrap();
    get(&server.url, "/v1/version");
    server.stop().unwrap();

    let mut spans = Vec::new();
    while let Ok(request) = taken.recv_timeout(Duration::from_millis(500)) {
        for resource in request.resource_spans {
            let of = resource.resource.unwrap();
            assert_eq!(text(&of.attributes, "service.name"), Some("hallmark"));
            spans.extend(resource.scope_spans.into_iter().flat_map(|scope| scope.spans));
        }
    }
    let named = |name: &str| {
        let mut found = spans.iter().filter(|span| span.name == name);
        let span = found.next().unwrap_or_else(|| panic!("there is no span {name}"));
        assert!(found.next().is_none(), "there are several spans {name}");
        span
    };
    let info = named("GET /v2/snaps/info/{name}");
    assert_eq!(info.trace_id, TRACE);
    assert_eq!(
        info.parent_span_id,
        [0x00, 0xf0, 0x67, 0xaa, 0x0b, 0xa9, 0x02, 0xb7]
    );
    assert_eq!(info.kind, SpanKind::Server as i32);
    assert_eq!(text(&info.attributes, "http.request.method"), Some("GET"));
    assert_eq!(
        text(&info.attributes, "http.route"),
        Some("/v2/snaps/info/{name}")
    );
    assert_eq!(number(info, "http.response.status_code"), Some(404));
    assert!(text(&info.attributes, "request.id").is_some());
    let identify = spans
        .iter()
        .find(|span| span.name == "identify" && span.trace_id == TRACE);
    assert_eq!(identify.unwrap().parent_span_id, info.span_id);

    let serial = named("POST /v1/serial");
    for step in ["reserve", "sign", "record"] {
        let step = spans
            .iter()
            .find(|span| span.name == step && span.trace_id == serial.trace_id)
            .unwrap_or_else(|| panic!("there is no span {step}"));
        assert_eq!(step.parent_span_id, serial.span_id);
        assert!(step.start_time_unix_nano >= serial.start_time_unix_nano);
    }
    assert_ne!(named("GET /v1/version").trace_id, TRACE);
    // Neither keys nor paths with names in them.
    let all = format!("{spans:?}");
    assert!(!all.contains(&api_key) && !all.contains("no-such-snap"), "{all}");
}

#[test]
fn an_environment_that_makes_no_sense_is_said_at_the_start() {
    let below = tempfile::tempdir().unwrap();
    let instance = Instance::new(env!("CARGO_BIN_EXE_hallmark"), below.path())
        .with("OTEL_EXPORTER_OTLP_ENDPOINT", "not an address");
    instance.init("acme").unwrap();
    let refused = instance.run(&["serve", "--listen", "127.0.0.1:0"]).unwrap_err();
    assert!(refused.to_string().contains("cannot send traces: "), "{refused}");
}
