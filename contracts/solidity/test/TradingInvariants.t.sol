// SPDX-License-Identifier: MIT
pragma solidity ^0.8.24;

import {EnergyToken} from "../src/EnergyToken.sol";
import {EnergyTrading} from "../src/EnergyTrading.sol";
import {Settlement} from "../src/Settlement.sol";
import {IEnergyTrading} from "../src/interfaces/IEnergyTrading.sol";
import {ISettlement} from "../src/interfaces/ISettlement.sol";
import {Cast} from "./Cast.sol";
import {VmMore} from "./VmMore.sol";

/// @dev Ada and Bo pay escrow in and out, order on both sides, cancel, are matched, settled and returned to, in any order,
/// while headers come or not.
contract TradingWorld is Cast {
    EnergyTrading internal trading;
    uint256[] internal orderIds;
    uint256[] internal amounts;
    uint256 public trades;
    uint256 public paid;
    uint256 public funded;
    uint256 public takenBack;
    ISettlement.HeaderProof private _last;

    constructor() {
        setUp();
    }

    function setUp() public override {
        require(address(settlement) == address(0), "there is one world");
        super.setUp();
        trading = new EnergyTrading(settlement, 300, 60, 3_600, 0, 0, 400_000);
        VM.prank(GOVERNANCE);
        settlement.setTrading(address(trading));
        token.approve(address(trading), type(uint256).max);
        fund(true, 1e10);
        fund(false, 1e10);
    }

    function core() external view returns (EnergyTrading, EnergyToken, Settlement) {
        return (trading, token, settlement);
    }

    function orders() external view returns (uint256[] memory, uint256[] memory) {
        return (orderIds, amounts);
    }

    /// @dev Some orders are covered, some are not.
    function fund(bool toAda, uint64 amount) public {
        trading.fund(toAda ? 1 : 2, amount % 1e11);
        funded += amount % 1e11;
    }

    function takeBack(bool byAda, uint64 amount) external {
        uint256 free = trading.freeNano(byAda ? 1 : 2);
        VM.prank(byAda ? ADA : BO);
        trading.withdrawFree(amount % (free + free / 8 + 1));
        takenBack += amount % (free + free / 8 + 1);
    }

    /// @dev Of any order: also of those that were returned, matched or cancelled.
    function giveBack(uint8 which) external {
        trading.returnEscrow(orderIds[which % orderIds.length]);
    }

    /// @dev Now and then headers stop until reserves are released, and escrow with them.
    function stop(uint8 chance) external {
        if (chance % 8 != 0) return;
        VM.warp(VmMore(address(VM)).getBlockTimestamp() + RELEASE_S);
        if (settlement.finalisedCount() != settlement.headerCount()) settlement.finalise(_last);
    }

    /// @dev Buyers pay 20 to 40 ticks, sellers ask 10 to 30: most cross.
    function place(bool byAda, bool sells, uint32 amount, uint8 ticks) public {
        uint256 expiry = block.timestamp + 1 days;
        uint256 price = (uint256(ticks) % 21 + (sells ? 10 : 20)) * 100;
        VM.prank(byAda ? ADA : BO);
        orderIds.push(trading.createOrder(amount % 5_000, price, expiry, IEnergyTrading.OrderType(sells ? 1 : 0)));
        amounts.push(amount % 5_000);
    }

    /// @dev One buys and the other sells in the same quarter-hour.
    function placeBoth(bool byAda, uint32 bought, uint32 sold, uint8 bid, uint8 asked) external {
        place(byAda, false, bought, bid);
        place(!byAda, true, sold, asked);
    }

    function cancel(bool byAda, uint8 which) external {
        VM.prank(byAda ? ADA : BO);
        trading.cancelOrder(orderIds[orderIds.length - 1 - which % 4]);
    }

    /// @dev The first two of the last eight that can be matched.
    function matchLast() external {
        uint256 from = orderIds.length < 8 ? 0 : orderIds.length - 8;
        for (uint256 one = from; one < orderIds.length; one++) {
            for (uint256 other = from; other < orderIds.length; other++) {
                try trading.matchOrders(orderIds[one], orderIds[other]) {
                    trades++;
                    return;
                } catch {}
            }
        }
    }

    function settle(uint8 which) external {
        uint256 id = 1 + which % trades;
        trading.settleTransaction(id);
        paid += trading.getTrade(id).cost;
    }

    function wait(uint16 seconds_) external {
        VM.warp(VmMore(address(VM)).getBlockTimestamp() + seconds_ % 900);
    }

    function carryOn(uint8 chance) external {
        if (chance % 32 == 0) _last = post(nextHeader(emptyRoot()));
    }
}

contract TradingInvariantsTest is Cast {
    TradingWorld internal world;
    EnergyTrading internal trading;

    function setUp() public override {
        world = new TradingWorld();
        (trading, token, settlement) = world.core();
        VM.warp(block.timestamp + 3_600);
    }

    function targetContracts() external view returns (address[] memory targets) {
        targets = new address[](1);
        targets[0] = address(world);
    }

    /// @dev What is held is what is free, what is locked and what trades have not paid, and nothing else; what was paid
    /// in is that, or was taken back, paid to sellers or deposited.
    function invariant_the_token_held_is_free_or_locked_or_of_unpaid_trades() external view {
        uint256 escrow = trading.freeNano(1) + trading.freeNano(2);
        (uint256[] memory ids,) = world.orders();
        for (uint256 i = 0; i < ids.length; i++) {
            escrow += trading.lockedNano(ids[i]);
        }
        uint256 settled;
        for (uint256 id = 1; id <= world.trades(); id++) {
            EnergyTrading.Trade memory trade = trading.getTrade(id);
            if (trade.settled) settled += trade.cost;
            else escrow += trade.cost;
        }
        assertEq(token.balanceOf(address(trading)), escrow);
        assertEq(settled, world.paid());
        uint256 deposited = settlement.depositedNano(1) + settlement.depositedNano(2);
        assertEq(world.funded(), escrow + world.takenBack() + settled + deposited);
    }

    /// @dev What trades took of an order and what is open of it is what was ordered; nothing is taken of an order that
    /// still stands in the auctions.
    function invariant_no_order_is_filled_beyond_its_amount() external view {
        (uint256[] memory ids, uint256[] memory amounts) = world.orders();
        for (uint256 i = 0; i < ids.length; i++) {
            uint256 taken;
            for (uint256 id = 1; id <= world.trades(); id++) {
                EnergyTrading.Trade memory trade = trading.getTrade(id);
                if (trade.buyOrderId == ids[i] || trade.sellOrderId == ids[i]) taken += trade.amount;
            }
            IEnergyTrading.Order memory order = trading.getOrder(ids[i]);
            assertEq(order.amount + taken, amounts[i]);
            assertTrue((order.status == IEnergyTrading.OrderStatus.FILLED) == (order.amount == 0));
            bool isClosed = trading.closedAt(uint32(ids[i] >> 32), (1 << 31) | uint32(ids[i])) != 0;
            assertTrue(isClosed == (taken != 0 || order.status == IEnergyTrading.OrderStatus.CANCELLED));
        }
    }
}
