// `java Tunnel.java KIND URL USER:KEY`: asks once, through the proxy that -Dhttps.proxyHost names; prints
// the status.
import java.net.Authenticator;
import java.net.PasswordAuthentication;
import java.net.ProxySelector;
import java.net.URI;
import java.net.http.HttpClient;
import java.net.http.HttpRequest;
import java.net.http.HttpResponse.BodyHandlers;
import javax.net.ssl.HttpsURLConnection;

class Tunnel {
    public static void main(String[] arguments) throws Exception {
        var url = URI.create(arguments[1]);
        var pair = arguments[2].split(":", 2);
        var authenticator = new Authenticator() {
            @Override protected PasswordAuthentication getPasswordAuthentication() {
                if (getRequestorType() != RequestorType.PROXY || pair.length != 2) {
                    return null;
                }
                return new PasswordAuthentication(pair[0], pair[1].toCharArray());
            }
        };
        if (arguments[0].equals("HttpClient")) {
            var client = HttpClient.newBuilder()
                .proxy(ProxySelector.getDefault())
                .authenticator(authenticator)
                .build();
            var answer = client.send(HttpRequest.newBuilder(url).build(), BodyHandlers.ofString());
            System.out.println(answer.statusCode());
        } else {
            Authenticator.setDefault(authenticator);
            var connection = (HttpsURLConnection) url.toURL().openConnection();
            System.out.println(connection.getResponseCode());
        }
    }
}
