using Vmm.Host;
using Vmm.Named;

namespace Vmm.Tests.Named;

/// <summary>A place for machines of a test's own.</summary>
internal sealed class TemporaryStore : IDisposable
{
    private readonly string _directory = Directory.CreateTempSubdirectory("vmm-named-").FullName;

    public TemporaryStore()
    {
        Runtime = Path.Combine(_directory, "run");
        Directory.CreateDirectory(Runtime, PrivateFiles.DirectoryMode);
        Store = new MachineStore(Path.Combine(_directory, "machines"), () => Runtime);
    }

    public MachineStore Store { get; }

    public string Runtime { get; }

    public MachineRecord Record(string name) => TestRecord.Of(name, Runtime);

    /// <summary>One that does not run.</summary>
    public MachineFolder Add(string name, Func<MachineRecord, MachineRecord>? change = null)
    {
        (MachineFolder folder, FileDescriptor life) = Store.TryCreate(change is null ? Record(name) : change(Record(name)))!.Value;
        life.Dispose();
        return folder;
    }

    public void Dispose() => Directory.Delete(_directory, recursive: true);
}
