namespace Vmm.Host;

/// <summary>How a <see cref="FileEngine"/> gets file operations done.</summary>
internal interface IFileRunner : IDisposable
{
    /// <summary>Takes an operation; false when there is no room before one was reaped.</summary>
    bool TryBegin(FileIo io);

    /// <summary>Makes sure that all that was taken is under way.</summary>
    void Kick();

    /// <summary>One call's end. Operations whose transfer was short come back too: see <see cref="FileIo.Advance"/>.</summary>
    /// <param name="result">Bytes, or an error number below zero.</param>
    FileIo? TryReap(out long result);

    /// <summary>Blocks until there is something to reap.</summary>
    void Wait();

    void AddFile(HostFile file);

    void RemoveFile(HostFile file);
}
