// Java's HttpClient: `java Client.java BASE PROXY FILE`. Left at its defaults it offers an upgrade
// to HTTP/2 in the clear with every first request.
import java.io.ByteArrayInputStream;
import java.net.InetSocketAddress;
import java.net.ProxySelector;
import java.net.URI;
import java.net.http.HttpClient;
import java.net.http.HttpRequest;
import java.net.http.HttpRequest.BodyPublisher;
import java.net.http.HttpRequest.BodyPublishers;
import java.net.http.HttpResponse;
import java.net.http.HttpResponse.BodyHandlers;
import java.nio.file.Files;
import java.nio.file.Path;
import java.security.MessageDigest;
import java.util.Arrays;
import java.util.HexFormat;

class Client {
    static HttpClient client;
    static String base;

    public static void main(String[] arguments) throws Exception {
        base = arguments[0];
        var builder = HttpClient.newBuilder();
        if (!arguments[1].isEmpty()) {
            var proxy = arguments[1].split(":");
            builder.proxy(ProxySelector.of(
                new InetSocketAddress(proxy[0], Integer.parseInt(proxy[1]))));
        }
        client = builder.build();
        var file = Path.of(arguments[2]);
        var body = Files.readAllBytes(file);
        var part = Arrays.copyOf(body, 300_000);

        var echo = ask("GET", "/v1/echo?a=%2Fb%20c&d=1+2", BodyPublishers.noBody());
        var chunked = ask("POST", "/v1/digest",
            BodyPublishers.ofInputStream(() -> new ByteArrayInputStream(part)));
        var upload = ask("POST", "/v1/digest", BodyPublishers.ofFile(file));
        var download = ask("GET", "/files/big", BodyPublishers.noBody());
        var nothing = ask("DELETE", "/v1/nothing", BodyPublishers.noBody());
        var packed = ask("GET", "/v1/gzip", BodyPublishers.noBody());
        var head = ask("HEAD", "/files/big", BodyPublishers.noBody());
        System.out.printf("{\"echo\": %s, \"chunked\": %s, \"upload\": %s, \"download\": \"%s\", "
                + "\"nothing\": [%d, %d], \"gzip\": [\"%s\", \"%s\"], \"head\": [%d, \"%s\", %d]}%n",
            new String(echo.body()), new String(chunked.body()), new String(upload.body()),
            sha256(download.body()), nothing.statusCode(), nothing.body().length,
            field(packed, "content-encoding"), sha256(packed.body()),
            head.statusCode(), field(head, "content-length"), head.body().length);
    }

    static HttpResponse<byte[]> ask(String method, String path, BodyPublisher body) throws Exception {
        var request = HttpRequest.newBuilder(URI.create(base + path))
            .header("Authorization", "Bearer the-clients-own")
            .method(method, body)
            .build();
        return client.send(request, BodyHandlers.ofByteArray());
    }

    static String field(HttpResponse<?> answer, String name) {
        return answer.headers().firstValue(name).orElse("");
    }

    static String sha256(byte[] bytes) throws Exception {
        return HexFormat.of().formatHex(MessageDigest.getInstance("SHA-256").digest(bytes));
    }
}
