import com.fasterxml.jackson.databind.JsonNode;
import com.fasterxml.jackson.databind.ObjectMapper;
import com.sun.management.OperatingSystemMXBean;
import java.lang.management.ManagementFactory;
import java.util.Properties;
import org.apache.kafka.common.serialization.Serdes;
import org.apache.kafka.streams.KafkaStreams;
import org.apache.kafka.streams.Topology;
import org.apache.kafka.streams.processor.api.Processor;
import org.apache.kafka.streams.processor.api.ProcessorContext;
import org.apache.kafka.streams.processor.api.Record;
import org.apache.kafka.streams.state.KeyValueStore;
import org.apache.kafka.streams.state.Stores;

/** Peer SERVERS TOPIC COUNT GUARANTEE DIR: per user a last-seen time and a pending cart. */
public class Peer {
  static long count, seen, beganWall, beganCpu;

  static long cpu() {
    return ((OperatingSystemMXBean) ManagementFactory.getOperatingSystemMXBean())
        .getProcessCpuTime();
  }

  static class Carts implements Processor<byte[], byte[], byte[], byte[]> {
    KeyValueStore<byte[], byte[]> store;
    final ObjectMapper json = new ObjectMapper();

    public void init(ProcessorContext<byte[], byte[]> context) {
      store = context.getStateStore("users");
    }

    public void process(Record<byte[], byte[]> record) {
      if (seen++ == 0) {
        beganWall = System.nanoTime();
        beganCpu = cpu();
      }
      if (record.key() != null && record.value() != null && record.value().length > 0) {
        decide(record);
      }
      if (seen >= count) {
        double wall = (System.nanoTime() - beganWall) / 1e9;
        double cpu = (cpu() - beganCpu) / 1e9;
        System.out.println("RESULT " + seen / wall + " " + seen / cpu);
        Runtime.getRuntime().halt(0);
      }
    }

    void decide(Record<byte[], byte[]> record) {
      JsonNode event;
      try {
        event = json.readTree(record.value());
      } catch (java.io.IOException error) {
        throw new RuntimeException(error);
      }
      byte[] known = store.get(record.key());
      String[] state = known == null ? new String[] {"0", ""} : new String(known).split("\\|", -1);
      boolean dirty = false;
      long now = System.currentTimeMillis();
      if (now - Long.parseLong(state[0]) > 60_000) {
        state[0] = Long.toString(now);
        dirty = true;
      }
      String name = event.path("event").asText();
      JsonNode properties = event.path("properties");
      if (name.equals("Product Added") && properties.path("price").asInt() >= 100) {
        if (state[1].isEmpty()) {
          state[1] = now + "," + properties.path("product_id").asText();
          dirty = true;
        }
      } else if (name.equals("Order Completed") && !state[1].isEmpty()) {
        state[1] = "";
        dirty = true;
      }
      if (dirty) {
        store.put(record.key(), (state[0] + "|" + state[1]).getBytes());
      }
    }
  }

  public static void main(String[] arguments) throws Exception {
    count = Long.parseLong(arguments[2]);
    Properties settings = new Properties();
    settings.put("application.id", "peer-streams-" + ProcessHandle.current().pid());
    settings.put("bootstrap.servers", arguments[0]);
    settings.put("auto.offset.reset", "earliest");
    settings.put("num.stream.threads", "1");
    settings.put("replication.factor", "1");
    settings.put("processing.guarantee", arguments[3]);
    settings.put("state.dir", arguments[4]);
    Topology topology = new Topology();
    topology.addSource(
        "in",
        Serdes.ByteArray().deserializer(),
        Serdes.ByteArray().deserializer(),
        arguments[1]);
    topology.addProcessor("carts", Carts::new, "in");
    topology.addStateStore(
        Stores.keyValueStoreBuilder(
            Stores.persistentKeyValueStore("users"), Serdes.ByteArray(), Serdes.ByteArray()),
        "carts");
    new KafkaStreams(topology, settings).start();
    Thread.sleep(600_000);
  }
}
