import com.hivemq.configuration.service.InternalConfigurations;
import com.hivemq.embedded.EmbeddedExtension;
import com.hivemq.embedded.EmbeddedHiveMQ;
import com.hivemq.extension.sdk.api.ExtensionMain;
import com.hivemq.extension.sdk.api.auth.SimpleAuthenticator;
import com.hivemq.extension.sdk.api.auth.parameter.SimpleAuthInput;
import com.hivemq.extension.sdk.api.auth.parameter.SimpleAuthOutput;
import com.hivemq.extension.sdk.api.parameter.ExtensionStartInput;
import com.hivemq.extension.sdk.api.parameter.ExtensionStartOutput;
import com.hivemq.extension.sdk.api.parameter.ExtensionStopInput;
import com.hivemq.extension.sdk.api.parameter.ExtensionStopOutput;
import com.hivemq.extension.sdk.api.services.Services;
import java.nio.charset.StandardCharsets;
import java.nio.file.Path;
import java.util.Optional;

/** A broker with one user. Arguments: folder (with conf/config.xml), user, password. Prints "ready" when it listens. */
public final class Broker {

  private Broker() {}

  public static void main(String[] arguments) throws Exception {
    Path folder = Path.of(arguments[0]);
    // The defaults are for a server of many cores; opening fewer files makes it start in seconds.
    InternalConfigurations.PERSISTENCE_BUCKET_COUNT.set(2);
    InternalConfigurations.PAYLOAD_PERSISTENCE_BUCKET_COUNT.set(2);
    EmbeddedExtension extension =
        EmbeddedExtension.builder()
            .withId("one-user")
            .withName("One user")
            .withVersion("1")
            .withExtensionMain(new OneUser(arguments[1], arguments[2]))
            .build();
    EmbeddedHiveMQ broker =
        EmbeddedHiveMQ.builder()
            .withConfigurationFolder(folder.resolve("conf"))
            .withDataFolder(folder.resolve("data"))
            .withExtensionsFolder(folder.resolve("extensions"))
            .withEmbeddedExtension(extension)
            .build();
    Runtime.getRuntime().addShutdownHook(new Thread(() -> broker.stop().join()));
    broker.start().join();
    System.out.println("ready");
    Thread.currentThread().join();
  }

  private static final class OneUser implements ExtensionMain {
    private final String user;
    private final String password;

    OneUser(String user, String password) {
      this.user = user;
      this.password = password;
    }

    @Override
    public void extensionStart(ExtensionStartInput input, ExtensionStartOutput output) {
      Services.securityRegistry().setAuthenticatorProvider(provider -> (SimpleAuthenticator) this::decide);
    }

    @Override
    public void extensionStop(ExtensionStopInput input, ExtensionStopOutput output) {}

    private void decide(SimpleAuthInput input, SimpleAuthOutput output) {
      Optional<String> given = input.getConnectPacket().getPassword().map(b -> StandardCharsets.UTF_8.decode(b).toString());
      if (input.getConnectPacket().getUserName().equals(Optional.of(user)) && given.equals(Optional.of(password))) {
        output.authenticateSuccessfully();
      } else {
        output.failAuthentication();
      }
    }
  }
}
