using System.Buffers.Binary;
using System.Numerics;
using Iced.Intel;
using Vmm.Kvm.Abi;

namespace Vmm.Assist;

/// <summary>POPCNT, CMPXCHG8B and CMPXCHG16B.</summary>
internal static unsafe class IntegerInstructions
{
    public static Step Popcnt(AssistContext context)
    {
        ref readonly Instruction instruction = ref context.Instruction;
        ulong value;
        if (instruction.Op1Kind == OpKind.Register)
        {
            value = context.Get(instruction.Op1Register);
        }
        else
        {
            int size = instruction.MemorySize.GetSize();
            Span<byte> bytes = stackalloc byte[8];
            bytes.Clear();
            Step step = context.Address(size, out ulong linear);
            step = step == Step.Next ? context.From(context.Memory.Read(linear, bytes[..size])) : step;
            if (step != Step.Next)
            {
                return step;
            }

            value = BinaryPrimitives.ReadUInt64LittleEndian(bytes);
        }

        context.Set(instruction.Op0Register, (ulong)BitOperations.PopCount(value));
        context.SetStatusFlags(Bits.StatusFlags, value == 0 ? Bits.FlagZf : 0);
        return Step.Next;
    }

    /// <summary>With or without LOCK: always atomic. Like the processor, it asks for the right to write even if the
    /// comparison then fails.</summary>
    public static Step Cmpxchg8b(AssistContext context)
    {
        Step step = context.Address(8, out ulong linear);
        if (step != Step.Next)
        {
            return step;
        }

        ref KvmRegs regs = ref context.Cpu.Regs;
        ulong comparand = (regs.Rdx << 32) | (uint)regs.Rax;
        ulong replacement = (regs.Rcx << 32) | (uint)regs.Rbx;
        AccessResult result = context.Memory.Locate(linear, 8, Access.Write, out byte* pointer);
        ulong seen;
        if (result == AccessResult.Ok)
        {
            // SAFETY: Locate found eight bytes in guest memory. x86 allows a locked access at any alignment.
            seen = Interlocked.CompareExchange(ref *(ulong*)pointer, replacement, comparand);
        }
        else
        {
            // It crosses a page boundary, and the pages are not contiguous in this process: not atomic.
            Span<byte> bytes = stackalloc byte[8];
            step = context.From(context.Memory.Read(linear, bytes, Access.Write));
            if (step != Step.Next)
            {
                return step;
            }

            seen = BinaryPrimitives.ReadUInt64LittleEndian(bytes);
            BinaryPrimitives.WriteUInt64LittleEndian(bytes, seen == comparand ? replacement : seen);
            _ = context.Memory.Write(linear, bytes);
        }

        if (seen != comparand)
        {
            regs.Rax = (uint)seen;
            regs.Rdx = seen >> 32;
        }

        context.SetStatusFlags(Bits.FlagZf, seen == comparand ? Bits.FlagZf : 0);
        return Step.Next;
    }

    public static Step Cmpxchg16b(AssistContext context)
    {
        Step step = context.Address(16, out ulong linear);
        if (step != Step.Next)
        {
            return step;
        }

        if ((linear & 15) != 0)
        {
            return context.Raise(GuestFault.Gp());
        }

        step = context.From(context.Memory.Locate(linear, 16, Access.Write, out byte* pointer));
        if (step != Step.Next)
        {
            return step;
        }

        ref KvmRegs regs = ref context.Cpu.Regs;
        ulong* comparand = stackalloc ulong[2] { regs.Rax, regs.Rdx };

        // SAFETY: Locate found sixteen bytes in guest memory; they are aligned as the guest's address is.
        bool equal = NativeRoutines.Shared.CompareExchange16((ulong*)pointer, comparand, regs.Rbx, regs.Rcx);
        if (!equal)
        {
            regs.Rax = comparand[0];
            regs.Rdx = comparand[1];
        }

        context.SetStatusFlags(Bits.FlagZf, equal ? Bits.FlagZf : 0);
        return Step.Next;
    }
}
