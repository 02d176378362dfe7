import com.alibaba.otter.canal.connector.core.producer.MQDestination;
import com.alibaba.otter.canal.connector.core.util.Callback;
import com.alibaba.otter.canal.connector.kafka.producer.CanalKafkaProducer;
import com.alibaba.otter.canal.instance.manager.CanalInstanceWithManager;
import com.alibaba.otter.canal.instance.manager.model.Canal;
import com.alibaba.otter.canal.instance.manager.model.CanalParameter;
import com.alibaba.otter.canal.protocol.ClientIdentity;
import com.alibaba.otter.canal.protocol.Message;
import com.alibaba.otter.canal.server.embedded.CanalServerWithEmbedded;
import java.net.InetSocketAddress;
import java.util.List;
import java.util.Properties;
import java.util.concurrent.TimeUnit;

/**
 * CanalToKafka BROKERS TOPIC PARTITIONS DATABASE MARIADB_PORT: Canal's server following that database from now on, and
 * Canal's own producer, put together as Canal's deployer does. Runs until it is killed.
 */
public class CanalToKafka {
    public static void main(String[] args) {
        var parameter = new CanalParameter();
        parameter.setSourcingType(CanalParameter.SourcingType.MYSQL);
        parameter.setMetaMode(CanalParameter.MetaMode.MEMORY);
        parameter.setIndexMode(CanalParameter.IndexMode.MEMORY);
        parameter.setHaMode(CanalParameter.HAMode.HEARTBEAT);
        parameter.setStorageMode(CanalParameter.StorageMode.MEMORY);
        parameter.setStorageBatchMode(CanalParameter.BatchMode.ITEMSIZE);
        parameter.setMemoryStorageBufferSize(1024);
        parameter.setMemoryStorageRawEntry(true);
        parameter.setDbAddresses(List.of(new InetSocketAddress("127.0.0.1", Integer.parseInt(args[4]))));
        parameter.setDbUsername("cdc");
        parameter.setDbPassword("cdc");
        parameter.setDefaultDatabaseName(args[3]);
        parameter.setSlaveId(8123L);
        parameter.setConnectionCharset("UTF-8");
        parameter.setDefaultConnectionTimeoutInSeconds(30);
        parameter.setReceiveBufferSize(64 * 1024);
        parameter.setSendBufferSize(64 * 1024);
        parameter.setDetectingEnable(false);
        parameter.setTsdbEnable(false);
        parameter.setFilterTableError(true); // rows from between two ALTERs that it reads at once
        parameter.setParallel(false);
        parameter.setGtidEnable(false);
        var canal = new Canal();
        canal.setId(1L);
        canal.setName("rig");
        canal.setCanalParameter(parameter);

        var settings = new Properties();
        settings.setProperty("canal.mq.flatMessage", "true");
        settings.setProperty("kafka.bootstrap.servers", args[0]);
        settings.setProperty("kafka.acks", "all");
        var producer = new CanalKafkaProducer();
        producer.init(settings);
        var destination = new MQDestination();
        destination.setCanalDestination("rig");
        destination.setTopic(args[1]);
        destination.setPartitionsNum(Integer.parseInt(args[2]));
        destination.setPartitionHash(".*\\..*:$pk$"); // by the primary key, as its documentation shows

        String filter = args[3] + "\\..*";
        var server = CanalServerWithEmbedded.instance();
        server.setCanalInstanceGenerator(name -> new CanalInstanceWithManager(canal, filter));
        server.start();
        server.start("rig");
        var identity = new ClientIdentity("rig", (short) 1001, filter);
        server.subscribe(identity);
        while (true) {
            Message message = server.getWithoutAck(identity, 50, 200L, TimeUnit.MILLISECONDS);
            if (message.getId() == -1) continue;
            producer.send(destination, message, new Callback() {
                @Override public void commit() { server.ack(identity, message.getId()); }
                @Override public void rollback() { server.rollback(identity, message.getId()); }
            });
        }
    }
}
