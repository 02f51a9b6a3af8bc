using System.Collections.Concurrent;
using System.Text.Json;
using System.Text.Json.Serialization;
using Vmm.Daemon.Hosting;

namespace Vmm.Daemon.Quotas;

/// <summary>The owner of a machine that was made through vmmd, and the machine's share of the quota.</summary>
internal sealed record OwnerRecord(uint Uid, long Memory, int Cpus);

[JsonSourceGenerationOptions(PropertyNamingPolicy = JsonKnownNamingPolicy.CamelCase, RespectRequiredConstructorParameters = true)]
[JsonSerializable(typeof(OwnerRecord))]
internal sealed partial class OwnerJson : JsonSerializerContext;

/// <summary>Who has which machine: a small file for each, written before the machine is made, so that a vmmd that is killed in between
/// cannot give a machine to somebody else. A machine without one is vmmd's own user's. Any thread.</summary>
internal sealed class Owners
{
    private readonly string _directory;
    private readonly ConcurrentDictionary<string, OwnerRecord> _records = new(StringComparer.Ordinal);

    public Owners(DaemonPaths paths)
    {
        _directory = paths.Owners;
        if (!Directory.Exists(_directory))
        {
            return;
        }

        foreach (string file in Directory.EnumerateFiles(_directory, "*.json"))
        {
            try
            {
                if (JsonSerializer.Deserialize(File.ReadAllBytes(file), OwnerJson.Default.OwnerRecord) is { } record)
                {
                    _records[Path.GetFileNameWithoutExtension(file)] = record;
                }
            }
            catch (JsonException)
            {
                // Then only the administrator may use it.
            }
        }
    }

    public IEnumerable<KeyValuePair<string, OwnerRecord>> All => _records;

    public uint Of(string machine) => _records.TryGetValue(machine, out OwnerRecord? record) ? record.Uid : Peer.Self;

    public OwnerRecord? Find(string machine) => _records.GetValueOrDefault(machine);

    /// <exception cref="IOException">The disk is full, or cannot be written to.</exception>
    public void Add(string machine, OwnerRecord record)
    {
        Directory.CreateDirectory(_directory, UnixFileMode.UserRead | UnixFileMode.UserWrite | UnixFileMode.UserExecute);
        string path = PathOf(machine), beside = path + ".new";
        File.WriteAllBytes(beside, JsonSerializer.SerializeToUtf8Bytes(record, OwnerJson.Default.OwnerRecord));
        File.Move(beside, path, overwrite: true);
        _records[machine] = record;
    }

    public void Remove(string machine)
    {
        if (_records.TryRemove(machine, out _))
        {
            File.Delete(PathOf(machine));
        }
    }

    /// <summary>Removes those of machines that are gone, but for new ones: theirs may be on the way still.</summary>
    public void Forget(Func<string, bool> isGone, TimeSpan newerThan)
    {
        foreach (string machine in _records.Keys.Where(isGone).ToList())
        {
            if (DateTime.UtcNow - File.GetLastWriteTimeUtc(PathOf(machine)) > newerThan)
            {
                Remove(machine);
            }
        }
    }

    private string PathOf(string machine) => Path.Combine(_directory, machine + ".json");
}
