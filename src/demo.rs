//! A small MCP server on the official SDK, for the quickstart and `lumoauth local`: invoices that can be searched,
//! reminded of and deleted. It asks nobody who they are; that is the sidecar's part.

use std::{io, time::Duration};

use axum::Router;
use rmcp::{
    handler::server::wrapper::Parameters,
    tool, tool_router,
    transport::streamable_http_server::{
        StreamableHttpServerConfig, StreamableHttpService, session::never::NeverSessionManager,
    },
};
use schemars::JsonSchema;
use serde::Deserialize;
use tokio::{net::TcpListener, time};
use tokio_util::sync::CancellationToken;

/// Where it answers.
pub const PATH: &str = "/mcp";
/// How long calls in flight may take at shutdown.
const DRAIN: Duration = Duration::from_secs(5);

struct Invoice {
    number: &'static str,
    customer: &'static str,
    amount: &'static str,
    due: &'static str,
}

const INVOICES: [Invoice; 3] = [
    Invoice { number: "INV-1001", customer: "Northwind Trading", amount: "1,280.00 EUR", due: "2026-01-31" },
    Invoice { number: "INV-1002", customer: "Contoso Coffee", amount: "96.50 EUR", due: "2026-02-14" },
    Invoice { number: "INV-1003", customer: "Northwind Shipping", amount: "4,410.00 EUR", due: "2026-02-28" },
];

/// What to look for.
#[derive(Deserialize, JsonSchema)]
struct Search {
    /// Part of a customer's name or of an invoice number; empty finds all.
    #[serde(default)]
    query: String,
}

/// Which invoice.
#[derive(Deserialize, JsonSchema)]
struct Which {
    /// The invoice number, as INV-1001.
    invoice: String,
}

#[derive(Clone)]
struct Invoices;

#[tool_router(server_handler)]
impl Invoices {
    /// Finds invoices by customer or number.
    #[tool(annotations(title = "Search invoices", read_only_hint = true))]
    fn search_invoices(Parameters(Search { query }): Parameters<Search>) -> String {
        let query = query.to_lowercase();
        let found: Vec<String> = INVOICES
            .iter()
            .filter(|invoice| {
                [invoice.number, invoice.customer].iter().any(|text| text.to_lowercase().contains(&query))
            })
            .map(|Invoice { number, customer, amount, due }| format!("{number}: {customer}, {amount}, due {due}"))
            .collect();
        if found.is_empty() { "no invoice matches".to_owned() } else { found.join("\n") }
    }

    /// Reminds a customer of an invoice.
    #[tool(annotations(title = "Send a reminder", read_only_hint = false))]
    fn send_reminder(Parameters(Which { invoice }): Parameters<Which>) -> Result<String, String> {
        find(&invoice).map(|invoice| format!("reminder of {} sent to {}", invoice.number, invoice.customer))
    }

    /// Deletes an invoice.
    #[tool(annotations(title = "Delete an invoice", destructive_hint = true))]
    fn delete_invoice(Parameters(Which { invoice }): Parameters<Which>) -> Result<String, String> {
        find(&invoice).map(|invoice| format!("{} deleted (this is a demo: it is back at once)", invoice.number))
    }
}

fn find(number: &str) -> Result<&'static Invoice, String> {
    INVOICES.iter().find(|invoice| invoice.number == number).ok_or_else(|| format!("there is no invoice {number}"))
}

/// Serves MCP at [`PATH`] on `listener` until `shutdown`: revision 2026-07-28 and, without sessions, those before it.
pub async fn serve(listener: TcpListener, shutdown: CancellationToken) -> io::Result<()> {
    let config = StreamableHttpServerConfig::default()
        .with_legacy_session_mode(false)
        .with_json_response(true)
        .with_cancellation_token(shutdown.child_token());
    let service = StreamableHttpService::new(|| Ok(Invoices), NeverSessionManager::default().into(), config);
    let app = Router::new().route_service(PATH, service);
    let stop = shutdown.clone();
    let serving = axum::serve(listener, app).with_graceful_shutdown(async move { stop.cancelled().await });
    let late = async {
        shutdown.cancelled().await;
        time::sleep(DRAIN).await;
    };
    tokio::select! {
        served = serving => served,
        () = late => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rstest::rstest;
    use serde_json::{Value, json};
    use std::net::SocketAddr;
    use tokio::{
        io::{AsyncReadExt as _, AsyncWriteExt as _},
        net::TcpStream,
    };

    #[rstest]
    #[case("northwind", 2)]
    #[case("inv-1002", 1)]
    #[case("", 3)]
    fn search_finds(#[case] query: &str, #[case] count: usize) {
        assert_eq!(Invoices::search_invoices(Parameters(Search { query: query.to_owned() })).lines().count(), count);
    }

    #[test]
    fn unknown_invoices() {
        assert_eq!(Invoices::search_invoices(Parameters(Search { query: "nobody".to_owned() })), "no invoice matches");
        let which = || Parameters(Which { invoice: "INV-9".to_owned() });
        assert_eq!(Invoices::send_reminder(which()).unwrap_err(), "there is no invoice INV-9");
        assert_eq!(Invoices::delete_invoice(which()).unwrap_err(), "there is no invoice INV-9");
    }

    /// Posts a message as a sidecar forwards it, and gives status line and body.
    async fn post(address: SocketAddr, headers: &str, body: &Value) -> (String, Value) {
        let mut stream = TcpStream::connect(address).await.unwrap();
        let body = body.to_string();
        let request = format!(
            "POST {PATH} HTTP/1.1\r\nhost: 127.0.0.1:8000\r\norigin: https://app.example\r\nconnection: close\r\ncontent-type: application/json\r\naccept: application/json, text/event-stream\r\n{headers}content-length: {}\r\n\r\n{body}",
            body.len()
        );
        stream.write_all(request.as_bytes()).await.unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await.unwrap();
        let (head, body) = answer.split_once("\r\n\r\n").unwrap();
        assert!(head.to_lowercase().contains("content-type: application/json"), "{answer}");
        (head.lines().next().unwrap().to_owned(), serde_json::from_str(body).unwrap())
    }

    #[tokio::test]
    async fn both_eras_behind_a_sidecar() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let shutdown = CancellationToken::new();
        let server = tokio::spawn(serve(listener, shutdown.clone()));

        let initialize = json!({"jsonrpc": "2.0", "id": 1, "method": "initialize", "params": {
            "protocolVersion": "2025-11-25", "capabilities": {}, "clientInfo": {"name": "test", "version": "1"}}});
        let (status, answer) = post(address, "", &initialize).await;
        assert_eq!(status, "HTTP/1.1 200 OK", "{answer}");
        assert_eq!(answer["result"]["protocolVersion"], "2025-11-25");

        let list = json!({"jsonrpc": "2.0", "id": 2, "method": "tools/list"});
        let (_, answer) = post(address, "mcp-protocol-version: 2025-11-25\r\n", &list).await;
        let tools = answer["result"]["tools"].as_array().unwrap().iter();
        let mut names: Vec<_> = tools.map(|tool| tool["name"].as_str().unwrap()).collect();
        names.sort_unstable();
        assert_eq!(names, ["delete_invoice", "search_invoices", "send_reminder"]);

        let call = json!({"jsonrpc": "2.0", "id": 3, "method": "tools/call", "params": {
            "name": "send_reminder", "arguments": {"invoice": "INV-1002"}, "_meta": {
                "io.modelcontextprotocol/protocolVersion": "2026-07-28",
                "io.modelcontextprotocol/clientInfo": {"name": "test", "version": "1"},
                "io.modelcontextprotocol/clientCapabilities": {}}}});
        let modern = "mcp-protocol-version: 2026-07-28\r\nmcp-method: tools/call\r\nmcp-name: send_reminder\r\n";
        let (status, answer) = post(address, modern, &call).await;
        assert_eq!(status, "HTTP/1.1 200 OK", "{answer}");
        assert_eq!(answer["result"]["content"][0]["text"], "reminder of INV-1002 sent to Contoso Coffee");

        shutdown.cancel();
        server.await.unwrap().unwrap();
        assert!(TcpStream::connect(address).await.is_err(), "the port is given back");
    }
}
