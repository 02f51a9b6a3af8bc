using System.Buffers.Binary;
using Vmm.Devices.State;
using Vmm.Host;

namespace Vmm.Backends.VhostUser;

/// <summary>Saves and loads the back end's own state (QEMU, docs/interop/vhost-user.rst, "Migrating
/// back-end state").</summary>
internal sealed partial class VhostUserBackend
{
    private const uint Saving = 0, Loading = 1, Stopped = 0;

    /// <summary>Bits of the answer to SET_DEVICE_STATE_FD: an error; the back end uses the descriptor that it was given.</summary>
    private const ulong ErrorMask = 0xff, TakesOurs = 1 << 8;

    /// <inheritdoc/>
    public bool CanSave => Protocol.HasFlag(VhostUserProtocolFeatures.DeviceState);

    /// <inheritdoc/>
    public byte[] Save()
    {
        if (!CanSave)
        {
            throw new NotSupportedException("the program that serves it keeps what it knows of the guest to itself");
        }

        try
        {
            (FileDescriptor read, FileDescriptor write) = Pipe.Create();
            using (read)
            {
                using (write)
                {
                    Transfer(Saving, write);
                }

                byte[] state = Pipe.ReadAll(read, _channel.Patience, StateReader.MostBytes)
                    ?? throw new VhostUserException("it does not come to an end with its state");
                return Check() ? state : throw new VhostUserException("it could not write its state");
            }
        }
        catch (VhostUserException error)
        {
            throw new NotSupportedException($"the program that serves it: {error.Message}");
        }
    }

    /// <inheritdoc/>
    public string? Load(ReadOnlySpan<byte> state)
    {
        if (!CanSave)
        {
            return "it cannot take over what another one knew";
        }

        try
        {
            (FileDescriptor read, FileDescriptor write) = Pipe.Create();
            using (write)
            {
                using (read)
                {
                    Transfer(Loading, read);
                }

                if (!Pipe.TryWriteAll(write, state, _channel.Patience))
                {
                    return "it does not read its state";
                }
            }

            return Check() ? null : "it could not use it";
        }
        catch (VhostUserException error)
        {
            return error.Message;
        }
    }

    private void Transfer(uint direction, FileDescriptor end)
    {
        Span<byte> request = stackalloc byte[8];
        BinaryPrimitives.WriteUInt32LittleEndian(request, direction);
        BinaryPrimitives.WriteUInt32LittleEndian(request[4..], Stopped);
        ulong answer = _channel.Ask(VhostUserRequest.SetDeviceStateFd, request, end.Number);
        if ((answer & (ErrorMask | TakesOurs)) != TakesOurs)
        {
            throw new VhostUserException($"it refused {VhostUserRequest.SetDeviceStateFd} (0x{answer:x})");
        }
    }

    private bool Check() => _channel.Ask(VhostUserRequest.CheckDeviceState) == 0;
}
