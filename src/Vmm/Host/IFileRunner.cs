namespace Vmm.Host;

/// <summary>How a <see cref="FileEngine"/> gets file operations done.</summary>
internal interface IFileRunner : IDisposable
{
    /// <summary>Takes an operation; false when there is no room before one was reaped.</summary>
    bool TryBegin(FileIo io);

    /// <summary>The end of an operation need not be signalled until <see cref="Unmute"/>: the caller looks anyway.</summary>
    void Mute();

    /// <summary>From now on the end of an operation is signalled.</summary>
    /// <returns>Did one end meanwhile, for which there may be no signal?</returns>
    bool Unmute();

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
